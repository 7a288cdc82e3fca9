"""BOLT's key frames: by video, a list of questions with the seconds that were chosen, repetitions kept."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import PlainValidator

from modules.files.row_files import read_json
from modules.files.rows import MAX_SECONDS, Fields, FileError, LabelIfAny, Row, Text, read
from modules.methods.training_free.released.base import AskedQuestions, ReleasedChoice, ReleasedSelections, number_list


def _seconds(value: Any) -> tuple[float, ...]:
    seconds = number_list(value)
    if not all(0 <= second <= MAX_SECONDS for second in seconds):
        raise ValueError(f"seconds from 0 to {MAX_SECONDS:g}")
    return seconds


class _BOLTRow(Fields):
    question: Text
    frames: Annotated[tuple[float, ...], PlainValidator(_seconds)]
    question_id: LabelIfAny = None


class BOLTSeconds(ReleasedSelections):
    """Questions are found by their id, else by video and text (MLVU's ``question_id`` is the name of the video).

    A second becomes the frame nearest to it. The layout was read from the code that writes it, not from its data set.
    """

    def choices(self, asked: AskedQuestions) -> Iterator[ReleasedChoice]:
        videos = read_json(self.path, "selections")
        if not isinstance(videos, dict) or not videos:
            raise FileError(f"selections {self.path}: an object with a list of questions by video was expected")
        number = 0
        for video, rows in videos.items():
            if not isinstance(rows, list):
                raise FileError(f"selections {self.path}: of video {video!r:.80}, a list of questions was expected")
            for place, content in enumerate(rows, 1):
                row = Row(self.path, f"video {video!r:.80}, row {place}", number, content)
                told, number = read(_BOLTRow, row), number + 1
                question = None if told.question_id is None else asked.by_id(told.question_id)
                question = question or asked.by_text(row, video, told.question)
                if question is not None:
                    once = tuple(dict.fromkeys(told.frames))
                    yield ReleasedChoice(
                        question=question, row=row, seconds=once, num_repeated=len(told.frames) - len(once)
                    )
