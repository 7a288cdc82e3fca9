"""Videos of several worlds in turn: each question is of the world that it says, and each world writes its own part."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from datamodules.haystack.datamodule import HaystackData
from datamodules.haystack.video_writing import video_path, world_dir
from datamodules.haystack.world import World


def data(root: Path, world: World, **more: Any) -> HaystackData:
    counts = {"num_train_videos": 4, "num_val_videos": 1, "num_test_videos": 0}
    return HaystackData(world=world, root=str(root), **counts, **more)


def test_videos_are_of_the_worlds_in_turn(tmp_path: Path, short_world: World) -> None:
    far = replace(short_world, gap_s=(4.0, 5.0))
    mixed = data(tmp_path, short_world, other_worlds={"far": far, "left out": None})
    mixed.prepare_data()
    written = {w: sorted(p.name for p in world_dir(str(tmp_path), w).rglob("*.mp4")) for w in (short_world, far)}
    assert written == {
        short_world: ["train-00000.mp4", "train-00002.mp4", "val-00000.mp4"],
        far: ["train-00001.mp4", "train-00003.mp4"],
    }
    for question in mixed.load_questions("train"):
        number = int(Path(question.video).stem.rpartition("-")[2])
        name, world = (("main", short_world), ("far", far))[number % 2]
        assert question.groups["world"] == name
        assert question.video == str(video_path(str(tmp_path), world, "train", number))
    alone = data(tmp_path, far).load_questions("train")
    of_far = [replace(q, groups={**q.groups, "world": "far"}) for q in alone if q.video.endswith(("1.mp4", "3.mp4"))]
    assert [q for q in mixed.load_questions("train") if q.groups["world"] == "far"] == of_far


def test_one_world_is_not_named(tmp_path: Path, short_world: World) -> None:
    assert all("world" not in q.groups for q in data(tmp_path, short_world).load_questions("train"))


def test_a_name_is_not_given_to_two_worlds(tmp_path: Path, short_world: World) -> None:
    with pytest.raises(ValueError, match="other_worlds: 'main' is the name of `world`"):
        data(tmp_path, short_world, other_worlds={"main": short_world})
