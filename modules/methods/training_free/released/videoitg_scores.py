"""VideoITG's ``*_512.jsonl``: 512 frames of each question with their scores, the best first."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from jsonargparse.typing import PositiveInt
from pydantic import PlainValidator

from modules.files.paths import InputPath
from modules.files.row_files import rows_of
from modules.files.rows import Fields, RowError, Whole, read
from modules.methods.training_free.released.base import (
    AskedQuestions,
    ReleasedChoice,
    ReleasedSelections,
    frame_list,
    number_list,
)


class _VideoITGRow(Fields):
    doc_id: Whole
    index: Annotated[tuple[tuple[int, ...], int], PlainValidator(frame_list)]
    logits: Annotated[tuple[float, ...], PlainValidator(number_list)] = ()


class VideoITGScores(ReleasedSelections):
    """``doc_id`` is the number of the row in lmms-eval's split, so the whole benchmark has to be read in that order.

    Args:
        path: the file, as published.
        num_frames: so many of the best are kept; all by default.
    """

    def __init__(self, *, path: InputPath, num_frames: PositiveInt | None = None) -> None:
        super().__init__(path=path)
        self.num_frames = num_frames

    def choices(self, asked: AskedQuestions) -> Iterator[ReleasedChoice]:
        first: dict[int, str] = {}
        for row in rows_of(self.path, "selections"):
            told = read(_VideoITGRow, row)
            if (there := first.setdefault(told.doc_id, row.place)) != row.place:
                raise RowError(row, "doc_id", told.doc_id, f"a number that occurs once, and {there} has it")
            frames, repeated = told.index
            if told.logits and (repeated or len(told.logits) != len(frames)):
                raise RowError(row, "logits", len(told.logits), f"one a frame, each frame once: {len(frames)}")
            yield ReleasedChoice(
                question=asked.by_number(row, "doc_id", told.doc_id),
                row=row,
                frame_ids=frames[: self.num_frames],
                scores=told.logits[: self.num_frames],
                best_first=True,
                num_repeated=repeated,
            )
