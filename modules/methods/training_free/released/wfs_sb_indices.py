"""WFS-SB's ``reproduce_*_f{8,16,32}.json``: the benchmark's own rows with ``keyframe_indices``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from pydantic import Field, PlainValidator

from modules.files.row_files import rows_of
from modules.files.rows import Fields, LabelIfAny, RowError, TextIfAny, read
from modules.methods.training_free.released.base import AskedQuestions, ReleasedChoice, ReleasedSelections, frame_list


class _WFSSBRow(Fields):
    """Fields of the benchmarks that a question can be found by."""

    keyframe_indices: Annotated[tuple[tuple[int, ...], int], PlainValidator(frame_list)]
    question: TextIfAny = None
    own_id: LabelIfAny = Field(None, alias="id")
    question_id: LabelIfAny = None
    video_name: TextIfAny = None


class WFSSBIndices(ReleasedSelections):
    """Frame numbers by time, without scores. LongVideoBench's questions are found by ``id``, Video-MME's by
    ``question_id``, MLVU's by ``video_name`` and the question's first line (its ``question_id`` is no key)."""

    def choices(self, asked: AskedQuestions) -> Iterator[ReleasedChoice]:
        for row in rows_of(self.path, "selections"):
            told = read(_WFSSBRow, row)
            if told.video_name is not None and told.question is not None:
                question = asked.by_text(row, told.video_name, told.question)
            elif (sample_id := told.own_id or told.question_id) is not None:
                question = asked.by_id(sample_id)
            else:
                raise RowError(row, "", None, "neither id, nor question_id, nor video_name with question")
            if question is not None:
                frames, repeated = told.keyframe_indices
                yield ReleasedChoice(question=question, row=row, frame_ids=frames, num_repeated=repeated)
