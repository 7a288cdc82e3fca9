"""EgoMem: its published layout, the questions without an answer, and options whose order gives nothing away."""

from __future__ import annotations

import json
import logging
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from datamodules.annotations.egomem import EgoMem
from datamodules.annotations.shuffled_options import shuffled
from modules.files.rows import FileError
from modules.records import VideoQuestion

ROW: dict[str, Any] = {
    "videoID": "A1_JAKE_DAY1",
    "question_id": "0",
    "type": "Detail",
    "question": "Who cleaned the whiteboard?",
    "options": ["A. A girl.", "B. Jake himself.", "C. A boy.", "D. Nobody."],
    "answer": "B",
}


def source(folder: Path, rows: list[Any], **more: Any) -> EgoMem:
    (folder / "EgoMem.json").write_text(json.dumps(rows))
    return EgoMem(annotations=str(folder / "EgoMem.json"), videos=str(folder / "videos"), **more)


def test_a_question_as_published(tmp_path: Path) -> None:
    question = source(tmp_path, [ROW], shuffle=None).load().questions[0]
    assert question.sample_id == "A1_JAKE_DAY1-0"
    assert Path(question.video) == tmp_path / "videos" / "A1_JAKE_DAY1.mp4"
    assert question.options == ("A girl.", "Jake himself.", "A boy.", "Nobody.")
    assert (question.answer, question.groups) == ("Jake himself.", {"type": "Detail"})


def test_the_four_broken_ones_are_left_out_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = [{**ROW, "question_id": str(n), "answer": answer} for n, answer in enumerate(["A", "", "E", "b", " ", "A"])]
    with caplog.at_level(logging.WARNING):
        loaded = source(tmp_path, rows).load()
    assert [q.sample_id for q in loaded.questions] == [f"A1_JAKE_DAY1-{n}" for n in (0, 3, 5)]
    assert loaded.manifest.num_dropped == 3
    assert "3 of 6 rows are left out: 3: the answer is none of the options" in caplog.text
    assert 'in the published order "always A" answers 66.7 % rightly; options are shuffled by seed 0' in caplog.text
    assert loaded.manifest.notes
    assert loaded.manifest.unexpected  # the published file has 500 such questions on 42 videos


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"options": "A"}, "options"),
        ({"videoID": "../../x"}, "allowed: a file inside"),
        ({"question": ""}, "question"),
        ({"type": None}, "type"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    with pytest.raises(FileError, match=said):
        source(tmp_path, [{**ROW, **change}]).load()


def test_an_answer_that_is_neither_letter_nor_option_is_lost_and_counted(tmp_path: Path) -> None:
    loaded = source(tmp_path, [{**ROW, "answer": "the girl"}]).load()
    assert (loaded.questions[0].answer, loaded.manifest.num_unanswered) == (None, 1)


def asked(n: int) -> VideoQuestion:
    return VideoQuestion("d", "s", f"q{n}", "v", 0.0, "?", ("a", "b", "c", "d"), 0)


def test_options_are_shuffled_by_id_and_seed_and_the_right_one_goes_with_them() -> None:
    orders = [shuffled(asked(n), 0) for n in range(400)]
    assert all(sorted(q.options) == ["a", "b", "c", "d"] and q.answer == "a" for q in orders)
    places = Counter(q.answer_index for q in orders)
    assert all(70 <= places[place] <= 130 for place in range(4))
    assert orders == [shuffled(asked(n), 0) for n in range(400)]
    assert orders != [shuffled(asked(n), 1) for n in range(400)]
    assert shuffled(VideoQuestion("d", "s", "q", "v", 0.0, "?"), 0).options == ()
