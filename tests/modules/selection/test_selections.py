"""Selections on disk, in fewer frames than they hold, and as a sampler."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from modules.methods.training_free.precomputed import Precomputed, nearest
from modules.records import Candidates, QuestionBatch, VideoQuestion
from modules.selection.selection_files import read_selections, write_selections
from modules.selection.selection_row import SelectionRow

# 64 frames of which the later ones were chosen first: the earliest 32 would be the worst
ROW = SelectionRow(
    "mlvu",
    "dev",
    "Q1",
    "v.mp4",
    "tspo",
    tuple(range(0, 640, 10)),
    tuple(n / 3 for n in range(64)),
    tuple(n / 64 for n in range(64)),
    tuple(range(63, -1, -1)),
    30.0,
    700,
    100,
    "decord",
    "TSPO-1",
)


def batch(candidates: Candidates, sample_id: str = "Q1") -> QuestionBatch:
    question = VideoQuestion("mlvu", "dev", sample_id, "v.mp4", 20.0, "?", ("a", "b"), 0)
    size = len(candidates)
    return QuestionBatch(
        [question],
        [candidates],
        torch.zeros(1, size, 1),
        torch.ones(1, size, dtype=torch.bool),
        candidates.timestamps_s[None].float(),
        torch.zeros(1, 1, 1),
    )


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl"])
def test_round_trip(tmp_path: Path, suffix: str) -> None:
    bare = SelectionRow("d", "s", "001", "v", "tspo", (3, 9))
    path = tmp_path / f"s{suffix}"
    write_selections(path, [ROW, bare])
    assert read_selections(path) == [ROW, bare]


def test_frames_of_clips_share_a_rank(tmp_path: Path) -> None:
    """The third clip was looked at again and brought no frame of its own."""
    row = SelectionRow("d", "s", "a", "v.mp4", "x", (1, 2, 7, 8), (0.1, 0.2, 0.7, 0.8), ranks=(3, 3, 0, 0))
    write_selections(tmp_path / "s.jsonl", [row])
    assert read_selections(tmp_path / "s.jsonl") == [row]
    assert row.best(2) == (7, 8)


def test_arms_and_broken_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    write_selections(path, [ROW, SelectionRow("d", "s", "Q1", "v", "uniform", (1,))])
    with pytest.raises(ValueError, match=r"several systems \(tspo, uniform\)"):
        read_selections(path)
    assert read_selections(path, "uniform")[0].frame_ids == (1,)
    with pytest.raises(ValueError, match="no row of sampler 'x'"):
        read_selections(path, "x")
    path.write_text('{"dataset": 1}\n')
    with pytest.raises(ValueError, match=r"s\.jsonl, row 1: dataset is 1"):
        read_selections(path)
    with pytest.raises(ValueError, match="no such file"):
        read_selections(tmp_path / "none.parquet")
    with pytest.raises(ValueError, match="2 scores for 1 frames"):
        SelectionRow("d", "s", "q", "v", "x", (1,), scores=(0.1, 0.2))


def test_fewer_frames_are_the_best_not_the_earliest() -> None:
    assert ROW.best(32) == ROW.frame_ids[32:]
    scored = SelectionRow("d", "s", "q", "v", "x", (1, 2, 3, 4), scores=(0.9, 0.1, 0.8, 0.2))
    assert scored.best(2) == (1, 3)
    unordered = SelectionRow("d", "s", "q", "v", "x", tuple(range(64)))
    assert unordered.best(4) == (0, 21, 42, 63)
    assert unordered.best(80) == unordered.frame_ids


def test_published_frame_lists_import(tmp_path: Path) -> None:
    """TSPO's form: the benchmark's row with absolute frame numbers as integral floats."""
    rows = [
        {"question_id": "Q0", "video_name": "a.mp4", "frame_idx": [0.0, 30.0, 1230.0]},
        {"id": "v_1", "video_path": "v.mp4", "frame_idx": [7, 8]},
        {"question_id": "001-1", "videoID": "-x", "frame_idx": [1.0]},
    ]
    path = tmp_path / "TSPO_MLVU_frameIdx.json"
    path.write_text(json.dumps(rows))
    first, second, third = read_selections(path)
    assert (first.sample_id, first.frame_ids, first.video) == ("Q0", (0, 30, 1230), "a.mp4")
    assert (second.sample_id, second.frame_ids) == ("v_1", (7, 8))
    assert third.sample_id == "001-1"


def test_as_a_sampler_it_chooses_what_the_file_says(tmp_path: Path) -> None:
    path = tmp_path / "s.parquet"
    write_selections(path, [ROW])
    sampler = Precomputed(path=str(path))
    exact = Candidates("v.mp4", torch.tensor(ROW.frame_ids), torch.arange(64.0), 20.0)
    chosen = sampler.policies(batch(exact)).mode(32).candidate_index[0, 0]
    assert sorted(chosen.tolist()) == list(range(32, 64))
    assert sampler.num_moved == 0
    coarse = Candidates("v.mp4", torch.arange(0, 640, 16), torch.arange(40.0), 20.0)
    assert sampler.policies(batch(coarse)).mode(8).candidate_index.shape == (1, 1, 8)
    assert sampler.num_moved > 0
    with pytest.raises(ValueError, match="no selection for question Q2"):
        sampler.policies(batch(exact, "Q2"))


def test_without_an_order_half_of_a_selection_is_every_other_frame(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    path.write_text(json.dumps([{"question_id": "Q1", "frame_idx": list(range(0, 64))}]))
    candidates = Candidates("v.mp4", torch.arange(64), torch.arange(64.0), 20.0)
    chosen = Precomputed(path=str(path)).policies(batch(candidates)).mode(32).candidate_index[0, 0]
    assert sorted(chosen.tolist()) == list(range(0, 64, 2))


def test_nearest_frame_of_a_grid() -> None:
    grid = torch.tensor([0, 10, 20])
    assert nearest(grid, torch.tensor([0, 4, 5, 6, 19, 99])).tolist() == [0, 0, 0, 1, 2, 2]
    assert nearest(torch.tensor([7]), torch.tensor([1, 9])).tolist() == [0, 0]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("frame_ids", [-1, 2]),
        ("frame_ids", [1.7]),
        ("frame_ids", [3, 3]),
        ("frame_ids", [5, 2]),
        ("frame_ids", [float("nan")]),
        ("frame_ids", [float("inf")]),
        ("frame_ids", [True]),
        ("frame_ids", "12"),
        ("frame_ids", [10**30]),
        ("timestamps_s", [float("nan"), 1.0]),
        ("scores", [0.5, float("-inf")]),
        ("ranks", [1, 1]),
        ("ranks", [0, 1.5]),
        ("ranks", [-1, 0]),
        ("sample_id", None),
        ("sample_id", "a\ud800"),
        ("scores", [0.5]),
        ("video_fps", -1),
        ("num_video_frames", 1.5),
    ],
)
def test_a_selection_that_is_none_is_named(field: str, value: object, tmp_path: Path) -> None:
    row = {"dataset": "d", "split": "s", "video": "v", "sampler": "x", "frame_ids": [1, 2]}
    path = tmp_path / "s.jsonl"
    path.write_text(
        "".join(json.dumps(r) + "\n" for r in [row | {"sample_id": "a"}, row | {"sample_id": "b", field: value}])
    )
    with pytest.raises(ValueError, match=rf"s\.jsonl, row 2: .*({field}|selection of b)"):
        read_selections(path)


@pytest.mark.parametrize("frames", [[-3.0, 2.0], [1.5], [2, 2], [7, 1], None, "1", [[1]]])
def test_published_frame_lists_hold_frame_numbers(frames: object, tmp_path: Path) -> None:
    path = tmp_path / "TSPO_frameIdx.json"
    path.write_text(json.dumps([{"id": "a", "frame_idx": [0]}, {"id": "b", "frame_idx": frames}]))
    with pytest.raises(ValueError, match=r"TSPO_frameIdx\.json, row 2: frame_idx"):
        read_selections(path)


def test_one_selection_a_question(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    write_selections(path, [SelectionRow("d", "s", "q", "v", "x", (frame,)) for frame in (1, 2)])
    with pytest.raises(ValueError, match=r"s\.jsonl, row 2: sample_id is 'q'; allowed: one selection a question"):
        read_selections(path)
    path.with_suffix(".json").write_text(
        json.dumps([{"id": 0, "frame_idx": [1]}, {"question_id": "0", "frame_idx": [2]}])
    )
    with pytest.raises(ValueError, match=r"s\.json, row 2: sample_id is '0'"):
        read_selections(path.with_suffix(".json"))
