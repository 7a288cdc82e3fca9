"""What published selections have in common: rows that belong to questions, and frames chosen for each."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modules.files.paths import InputPath
from modules.files.rows import FileError, Row, RowError, as_number, as_whole
from modules.records import VideoQuestion


@dataclass(frozen=True, kw_only=True)
class ReleasedChoice:
    """What a file chose for one question."""

    question: VideoQuestion
    row: Row
    """Where it stands, for messages."""
    frame_ids: tuple[int, ...] = ()
    """Positions in the file of the video, each once."""
    seconds: tuple[float, ...] = ()
    """Or times, each once."""
    scores: tuple[float, ...] = ()
    """Of each frame, where they are told."""
    best_first: bool = False
    """Whether the frames stand in order of worth; else their order says nothing."""
    evenly: bool = False
    """Evenly spaced frames of the video, both ends included, in place of any list."""
    num_repeated: int = 0
    """Frames that were there more than once."""


class AskedQuestions:
    """The questions of a benchmark, to be found by what published rows know of them.

    Args:
        questions: in the benchmark's order.
    """

    def __init__(self, questions: list[VideoQuestion]) -> None:
        self.questions = questions
        self._by_id = {question.sample_id: question for question in questions}
        self._by_text: dict[tuple[str, str], VideoQuestion | None] = {}
        for question in questions:
            key = _text_key(question.video, question.question)
            self._by_text[key] = None if key in self._by_text else question

    def by_id(self, sample_id: str) -> VideoQuestion | None:
        """By its id in the benchmark; None where the questions at hand are a part that lacks it."""
        return self._by_id.get(sample_id)

    def by_text(self, row: Row, video: str, text: str) -> VideoQuestion | None:
        """By the video's file name, with or without its ending, and the question's first line.

        Raises:
            RowError: two questions agree in both.
        """
        key = _text_key(video, text)
        if key in self._by_text and self._by_text[key] is None:
            raise RowError(row, "question", text, "a question that its video has once, and two read alike")
        return self._by_text.get(key)

    def by_number(self, row: Row, field: str, number: int) -> VideoQuestion:
        """By its place in the benchmark.

        Raises:
            RowError: there are not so many.
        """
        if number >= len(self.questions):
            raise RowError(row, field, number, f"the number of one of {len(self.questions)} questions, from 0")
        return self.questions[number]


class ReleasedSelections(ABC):
    """A file of selections in a layout that somebody published.

    Args:
        path: the file, as published.
    """

    def __init__(self, *, path: InputPath) -> None:
        self.path = Path(path)

    @abstractmethod
    def choices(self, asked: AskedQuestions) -> Iterator[ReleasedChoice]:
        """What it chose for each question that is at hand.

        Raises:
            FileError: the file is missing, broken, of another layout, or a row is not as the layout wants it.
        """

    def refuse_unless_all(self, asked: AskedQuestions, num_rows: int) -> None:
        """For layouts without keys, whose rows belong to the questions in order."""
        if num_rows != len(asked.questions):
            raise FileError(
                f"selections {self.path} has {num_rows} rows and no keys, so row n belongs to question n; but there "
                f"are {len(asked.questions)} questions. Read the whole benchmark, without limit or filter"
            )


def frame_list(value: Any) -> tuple[tuple[int, ...], int]:
    """Frame numbers in their order, each once, and how many were repetitions."""
    if not isinstance(value, (list, tuple)) or not value:
        raise ValueError("a list of frame numbers, not empty")
    frames = tuple(map(as_whole, value))
    once = tuple(dict.fromkeys(frames))
    return once, len(frames) - len(once)


def number_list(value: Any) -> tuple[float, ...]:
    """Finite numbers."""
    if not isinstance(value, (list, tuple)) or not value:
        raise ValueError("a list of numbers, not empty")
    numbers = tuple(map(as_number, value))
    assert all(map(math.isfinite, numbers)), "as_number takes no other"
    return numbers


def _text_key(video: str, text: str) -> tuple[str, str]:
    first = text.strip().splitlines()[0] if text.strip() else ""
    return Path(video).stem, " ".join(first.split()).casefold()
