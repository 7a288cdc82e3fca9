"""Annotation sources as a data module: splits, held-out videos, and evaluation without an encoder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from datamodules.annotations.mlvu import MLVU
from datamodules.haystack.video_writing import write_video
from datamodules.questions.annotated import AnnotatedVideos
from datamodules.questions.selected_frames import SelectedFrames
from modules.encoders.open_clip import OpenCLIPEncoder
from modules.selection.selection_files import write_selections
from modules.selection.selection_row import SelectionRow


@pytest.fixture(scope="module")
def mlvu(short_world, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("mlvu")
    for n in range(3):
        write_video(folder / f"{n}.mp4", short_world, "val", n)
    rows = [
        {
            "video_name": f"{n % 3}.mp4",
            "duration": 0,
            "question": "Q?\n(A) x\n(B) y",
            "candidates": ["x", "y"],
            "answer": "B",
            "task_type": "order",
            "question_id": f"Q{n}",
        }
        for n in range(6)
    ]
    (folder / "mlvu.json").write_text(json.dumps([*rows, {**rows[0], "video_name": "gone.mp4", "question_id": "Q6"}]))
    return folder


def data(mlvu: Path, tmp_path: Path, **kwargs) -> AnnotatedVideos:
    def source() -> MLVU:
        return MLVU(annotations=str(mlvu / "mlvu.json"), videos=str(mlvu))

    sources = {name: source() for name in kwargs.pop("splits", ("test",))}
    return AnnotatedVideos(**sources, feature_dir=str(tmp_path), eval_batch_size=2, **kwargs)


def test_without_encoder_frames_are_chosen_from_times_alone(mlvu: Path, tmp_path: Path) -> None:
    module = data(mlvu, tmp_path)
    module.setup("test")
    batches = list(module.test_dataloader())
    module.teardown("test")
    assert module.bad_videos == {str(mlvu / "gone.mp4"): "no such file"}
    assert [q.sample_id for b in batches for q in b.questions] == [f"Q{n}" for n in range(6)]
    candidates = batches[0].candidates[0]
    assert (len(candidates), candidates.num_video_frames, candidates.video_fps) == (100, 200, pytest.approx(2.0))
    assert batches[0].questions[0].duration_s == pytest.approx(100.0)  # the file says what the annotations did not
    assert batches[0].features.shape == (2, 100, 0)  # nothing is made up
    assert batches[0].queries.shape == (2, 0, 0)
    assert module.describe()["encoder"] is None


def test_candidates_can_be_exactly_the_frames_of_a_file(mlvu: Path, tmp_path: Path) -> None:
    rows = [SelectionRow("mlvu", "dev", f"Q{n}", "v", "x", (3, 7, 11 + n)) for n in range(7)]
    path = tmp_path / "s.parquet"
    write_selections(path, rows)
    module = data(mlvu, tmp_path, selections=SelectedFrames(path=str(path)))
    module.setup("test")
    (first, second) = next(iter(module.test_dataloader())).candidates
    assert first.frame_ids.tolist() == [3, 7, 11]
    assert second.frame_ids.tolist() == [3, 7, 12]
    assert torch.allclose(first.timestamps_s, torch.tensor([1.5, 3.5, 5.5], dtype=torch.float64))
    module.teardown("test")
    write_selections(path, [SelectionRow("mlvu", "dev", "Q0", "v", "x", (3, 900))])
    other = data(mlvu, tmp_path, selections=SelectedFrames(path=str(path)))
    other.setup("test")
    with pytest.raises(ValueError, match="has frame 900, but"):
        next(iter(other.test_dataloader()))
    other.teardown("test")


def test_held_out_videos_take_all_their_questions_along(mlvu: Path, tmp_path: Path) -> None:
    module = data(mlvu, tmp_path, splits=("train",), num_val_videos=1)
    train, val = module.questions("train"), module.questions("val")
    assert len(train) + len(val) == 7
    assert {q.video for q in train}.isdisjoint({q.video for q in val})
    assert len({q.video for q in val}) == 1
    with pytest.raises(ValueError, match="leaves none"):
        data(mlvu, tmp_path, splits=("train",), num_val_videos=9).questions("val")


def test_a_stage_without_a_source_is_named(mlvu: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"data\.train names no source"):
        data(mlvu, tmp_path).questions("train")
    encoder = object.__new__(OpenCLIPEncoder)
    with pytest.raises(ValueError, match="encoder has to be null"):
        data(mlvu, tmp_path, selections=SelectedFrames(path="x"), encoder=encoder)
