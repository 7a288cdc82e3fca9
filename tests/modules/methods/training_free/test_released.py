"""Published selections: each layout as it is written, found by its questions, and rows that are refused."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from modules.files.rows import FileError, RowError
from modules.methods.training_free.released.aks_lists import AKSLists
from modules.methods.training_free.released.base import AskedQuestions, ReleasedSelections
from modules.methods.training_free.released.bolt_seconds import BOLTSeconds
from modules.methods.training_free.released.dig_rewards import DIGRewards
from modules.methods.training_free.released.videoitg_scores import VideoITGScores
from modules.methods.training_free.released.wfs_sb_indices import WFSSBIndices
from modules.records import VideoQuestion
from modules.selection.selection_files import read_selections, write_selections
from recipes.jobs.import_selections import row_of

ASKED = AskedQuestions(
    [
        VideoQuestion("d", "test", "001-1", "/videos/first.mp4", 10.0, "Who  sings?"),
        VideoQuestion("d", "test", "001-2", "/videos/first.mp4", 10.0, "Why?"),
        VideoQuestion("d", "test", "002-1", "/videos/second.mp4", 10.0, "Why?"),
    ]
)
VIDEO: Any = SimpleNamespace(timestamps_s=np.arange(300) / 30, duration_s=10.0)

GOOD: dict[type[ReleasedSelections], Any] = {
    WFSSBIndices: [
        {"question_id": "001-1", "options": ["A. x"], "keyframe_indices": [3, 40, 299]},
        {"id": "elsewhere", "keyframe_indices": [5]},
        {"question_id": "Q0", "video_name": "second.mp4", "question": "Why?\n(A) x\n(B) y", "keyframe_indices": [7]},
    ],
    AKSLists: [[3.0, 40.0, 299.0], [], [7]],
    VideoITGScores: [
        {"doc_id": 0, "video_path": "x", "index": [40, 3, 299, 8], "logits": [0.9, 0.8, 0.8, 0.1]},
        {"doc_id": 2, "index": [7]},
    ],
    BOLTSeconds: {
        "first": [{"question_id": "001-1", "question": "Who sings?", "frames": [0.1, 1.34, 1.34, 9.97]}],
        "second": [{"question_id": "second", "question": "why?", "frames": [0.23]}],
    },
    DIGRewards: [
        {"videoid": "first", "question": "who sings?", "query_type": "global"},
        {
            "videoid": "second.mp4",
            "question": "Why?\nA. x",
            "query_type": "local",
            "r_frame_idx": [1, 5, 9],
            "boundaries": [0, 2, 8, 10],
            "reward": [0, 90, 0],
        },
    ],
}


def written(tmp_path: Path, kind: type[ReleasedSelections], content: Any, **more: Any) -> ReleasedSelections:
    path = tmp_path / ("file.jsonl" if kind is VideoITGScores else "file.json")
    lines = kind is VideoITGScores and isinstance(content, list)
    path.write_text("".join(json.dumps(row) + "\n" for row in content) if lines else json.dumps(content))
    return kind(path=str(path), **more)


@pytest.mark.parametrize("kind", [WFSSBIndices, AKSLists, VideoITGScores, BOLTSeconds])
def test_frames_come_to_their_questions(tmp_path: Path, kind: type[ReleasedSelections]) -> None:
    more = {"num_frames": 3} if kind is VideoITGScores else {}
    choices = list(written(tmp_path, kind, GOOD[kind], **more).choices(ASKED))
    rows = [row_of(choice, VIDEO, "theirs", 8) for choice in choices]
    assert [row.sample_id for row in rows] == ["001-1", "002-1"]
    assert [row.frame_ids for row in rows] == [(3, 40, 299), (7,)]
    assert rows[0].timestamps_s == (0.1, 1.333333, 9.966667)
    if kind is VideoITGScores:
        assert (rows[0].scores, rows[0].ranks) == ((0.8, 0.9, 0.8), (1, 0, 2))
        assert rows[0].best(1) == (40,)
    else:
        assert rows[0].ranks == rows[0].scores == ()
    assert choices[0].num_repeated == (1 if kind is BOLTSeconds else 0)
    out = tmp_path / "ours.jsonl"
    write_selections(out, rows)
    assert [row.frame_ids for row in read_selections(out)] == [(3, 40, 299), (7,)]


def test_digs_rewards_become_frames_around_what_matters(tmp_path: Path) -> None:
    whole, part = written(tmp_path, DIGRewards, GOOD[DIGRewards], num_frames=4).choices(ASKED)
    assert row_of(whole, VIDEO, "theirs", 4).frame_ids == (0, 99, 199, 299)
    # scene 1 of three: from boundary max(0, 1 - 2) = 0 to boundary min(3 - 1, 1 + 2) = 2, frames 0 to 8
    assert row_of(part, VIDEO, "theirs", 4).frame_ids == (0, 2, 5, 8)


def changed(kind: type[ReleasedSelections], **fields: Any) -> Any:
    """The first row's fields exchanged; a field that is ... left out."""
    content = json.loads(json.dumps(GOOD[kind]))
    row = content["first"][0] if kind is BOLTSeconds else content[-1] if kind is DIGRewards else content[0]
    row.update({name: value for name, value in fields.items() if value is not ...})
    for name in [name for name, value in fields.items() if value is ...]:
        del row[name]
    return content


@pytest.mark.parametrize(
    ("kind", "content", "message"),
    [
        (WFSSBIndices, changed(WFSSBIndices, keyframe_indices=[3, -1]), "a whole number, 0 or more"),
        (WFSSBIndices, changed(WFSSBIndices, keyframe_indices=[]), "a list of frame numbers, not empty"),
        (WFSSBIndices, changed(WFSSBIndices, keyframe_indices={"0": 1}), "a list of frame numbers"),
        (WFSSBIndices, changed(WFSSBIndices, question_id=...), "neither id, nor question_id"),
        (WFSSBIndices, [7], "an object with fields was expected"),
        (WFSSBIndices, [{"question_id": "001-1"}], "no field 'keyframe_indices'"),
        (AKSLists, [[1], [2]], "has 2 rows and no keys"),
        (AKSLists, [[1], [2], [True]], "a whole number"),
        (AKSLists, [[1], [2], "3"], "a list of frame numbers"),
        (AKSLists, {"a": 1}, "a list of lists"),
        (VideoITGScores, changed(VideoITGScores, doc_id=3), "the number of one of 3 questions"),
        (VideoITGScores, changed(VideoITGScores, doc_id=2), "a number that occurs once"),
        (VideoITGScores, changed(VideoITGScores, logits=[0.5]), "one a frame"),
        (VideoITGScores, changed(VideoITGScores, logits=[0.9, "nan", 0.8, 0.1]), "a finite number"),
        (BOLTSeconds, changed(BOLTSeconds, frames=[-1.0]), "seconds from 0"),
        (BOLTSeconds, changed(BOLTSeconds, frames=[1e300]), "a finite number"),
        (BOLTSeconds, {"first": 7}, "a list of questions was expected"),
        (BOLTSeconds, [], "an object with a list of questions by video"),
        (DIGRewards, changed(DIGRewards, query_type="both"), "query_type"),
        (DIGRewards, changed(DIGRewards, reward=...), "a local question has boundaries and reward"),
        (DIGRewards, changed(DIGRewards, boundaries=[0, 8, 2, 10]), "numbers that increase"),
        (DIGRewards, changed(DIGRewards, boundaries=[0, 2, 10]), "one more than rewards"),
        (DIGRewards, changed(DIGRewards, boundaries=[0, 2, 8, 10**14]), "numbers of frames of a video"),
    ],
)
def test_a_row_that_is_not_as_its_layout_wants_it_is_named(
    tmp_path: Path, kind: type[ReleasedSelections], content: Any, message: str
) -> None:
    with pytest.raises(FileError, match=message) as error:
        list(written(tmp_path, kind, content).choices(ASKED))
    assert "file.json" in str(error.value)


def test_another_encode_of_a_video_is_told_apart(tmp_path: Path) -> None:
    for kind, content in (
        (WFSSBIndices, changed(WFSSBIndices, keyframe_indices=[3, 300])),
        (BOLTSeconds, changed(BOLTSeconds, frames=[11.5])),
    ):
        choice = next(iter(written(tmp_path, kind, content).choices(ASKED)))
        with pytest.raises(RowError, match=r"first\.mp4"):
            row_of(choice, VIDEO, "theirs", 8)


def test_questions_that_read_alike_are_not_mixed_up(tmp_path: Path) -> None:
    twice = AskedQuestions([*ASKED.questions, VideoQuestion("d", "test", "9", "second.mkv", 9.0, "why?")])
    with pytest.raises(RowError, match="two read alike"):
        list(written(tmp_path, DIGRewards, GOOD[DIGRewards]).choices(twice))
