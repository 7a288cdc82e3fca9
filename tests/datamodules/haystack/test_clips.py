"""Captioned clips: what happens in them, what is said of it, and that the file shows it."""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from datamodules.haystack.clip_captions import captions_of, every_caption, facts_of, facts_right
from datamodules.haystack.clip_data import HaystackClips
from datamodules.haystack.clip_world import CLIP_KINDS, ClipWorld
from datamodules.haystack.render import RGB, render
from datamodules.haystack.video_writing import write_video
from datamodules.video.video_info import probe
from modules.records import VideoQuestion
from modules.rewards.exact_match import exact_match

SMALL = ClipWorld(size_px=32, duration_s=4.0, fps=2.0, max_count=3)


def test_a_plan_follows_from_its_number_and_splits_share_none() -> None:
    world = ClipWorld()
    assert world.plan("train", 7) == world.plan("train", 7)
    seeds = [world.plan(split, n).seed for split in ("train", "val", "test") for n in range(200)]
    assert len(set(seeds)) == len(seeds)
    kinds = Counter(world.plan("train", n).events[0].role for n in range(400))
    assert set(kinds) == set(CLIP_KINDS)
    assert min(kinds.values()) > 60


@pytest.mark.parametrize("duration_s", [4.0, 8.0, 30.0])
def test_what_is_shown_is_shown_long_enough_with_as_long_a_pause(duration_s: float) -> None:
    world = ClipWorld(duration_s=duration_s)
    for n in range(200):
        events = world.plan("test", n).events
        assert all(e.end_s - e.start_s >= 0.5 - 1e-9 for e in events)
        assert events[0].start_s >= 0
        assert events[-1].end_s <= duration_s
        if events[0].role in ("order", "count"):
            assert all(b.start_s - a.end_s >= 0.5 - 1e-9 for a, b in itertools.pairwise(events))


def test_captions_say_what_happens() -> None:
    world = ClipWorld()
    for n in range(200):
        plan = world.plan("val", n)
        texts, first, last = captions_of(plan), plan.events[0], plan.events[-1]
        assert len(set(texts)) == 5
        for text in texts:
            words = text.split()
            assert {first.colour, last.colour} <= set(words)
            if first.role == "order":
                assert {first.label, last.label} <= set(words)
            if first.role == "motion":
                assert first.label in words


def test_no_caption_is_true_of_another_clip() -> None:
    """Two clips share a wording only if they share them all: nothing is left open."""
    world, said = ClipWorld(), {}
    for n in range(1500):
        texts = captions_of(world.plan("train", n))
        for text in texts:
            assert said.setdefault(text, texts) == texts
    some = [set(captions_of(world.plan("train", n))) for n in range(40)]
    others = [a for a in some for b in some if a != b and any(exact_match(t, tuple(b)) for t in a)]
    assert not others  # articles, which exact-match forgives, tell none from another


def test_facts_are_read_back() -> None:
    assert facts_of("Then a red star.") == {}
    everything, world = set(every_caption()), ClipWorld()
    for n in range(100):
        plan = world.plan("test", n)
        texts = captions_of(plan)
        assert set(texts) <= everything
        facts = [facts_of(text) for text in texts]
        assert all(one == facts[0] for one in facts)
        assert facts[0]["kind"] == plan.events[0].role
        assert facts[0]["colour"] == plan.events[0].colour


def test_each_fact_is_right_or_wrong() -> None:
    asked = VideoQuestion("d", "s", "q", "v", 8.0, "?", references=("a blue ring is shown after a red star",))
    swapped = facts_right("first a blue ring is shown and then a red star", asked)
    assert swapped == {"kind": True, "colour": False, "shape": False, "other_colour": False, "other_shape": False}
    partly = facts_right("A red star appears, then a blue moon appears.", asked)
    assert partly == {"kind": True, "colour": True, "shape": True, "other_colour": True, "other_shape": False}
    assert not any(facts_right("a red star becomes blue", asked).values())  # of another kind
    assert not any(facts_right("a red star", asked).values())
    assert all(facts_right("a red star comes before a blue ring", asked).values())


def test_the_picture_shows_it() -> None:
    """A ball that moves to the right is farther right later; a colour that changes is the new one at the end."""
    world = ClipWorld(kinds=("motion",))
    plan = next(p for n in range(99) if (p := world.plan("train", n)).events[0].label == "right")
    event = plan.events[0]
    frames = render(plan, np.array([event.start_s + 1, event.end_s - 1]), 64).astype(int)
    ball = np.abs(frames - np.array(RGB[event.colour])).sum(-1) < 40
    assert np.nonzero(ball[1])[1].mean() > np.nonzero(ball[0])[1].mean() + 15
    world = ClipWorld(kinds=("colour",))
    plan = world.plan("train", 0)
    frames = render(plan, np.array([1.0, 7.0]), 64).astype(int)
    for frame, here, not_here in zip(frames, plan.events, plan.events[::-1], strict=True):
        near = [(np.abs(frame - np.array(RGB[e.colour])).sum(-1) < 40).sum() for e in (here, not_here)]
        assert near[0] > 100 > near[1]


def test_files_are_written_once_and_are_the_same_everywhere(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_video(tmp_path / f"{name}.mp4", SMALL, "train", 3)
    first, second = (hashlib.sha256((tmp_path / f"{n}.mp4").read_bytes()).digest() for n in ("a", "b"))
    assert first == second
    info = probe(str(tmp_path / "a.mp4"))
    assert (info.num_frames, info.duration_s) == (8, pytest.approx(4.0))


def test_the_data_module_asks_for_descriptions(tmp_path: Path) -> None:
    data = HaystackClips(
        world=SMALL, root=str(tmp_path), num_train_videos=3, num_val_videos=1, num_test_videos=2, num_captions=3,
        feature_dir=str(tmp_path / "features"), candidate_fps=2.0,
    )  # fmt: skip
    data.prepare_data()
    questions = data.questions("test")
    assert [q.question for q in questions] == ["Describe the video."] * 2
    assert all(len(q.references) == 3 and not q.options and Path(q.video).is_file() for q in questions)
    assert {q.groups["kind"] for q in data.questions("train")} <= set(CLIP_KINDS)
    batch = data.batch_of(questions)
    assert batch.mask.sum(1).tolist() == [8, 8]


def test_settings_that_show_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match=r"duration_s=2.0: a shape that is shown 4 times, for 0.5 s .* takes 4 s"):
        ClipWorld(duration_s=2.0)
    with pytest.raises(ValueError, match=r"kinds=\['dance'\]: one or more of"):
        ClipWorld(kinds=("dance",))
    with pytest.raises(ValueError, match="num_captions=6: a clip has 5 wordings"):
        HaystackClips(world=ClipWorld(), num_captions=6)
