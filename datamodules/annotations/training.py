"""Training annotations: TSPO-10K's JSON lines and LLaVA-Video-178K's conversations.

TSPO-10K's ``problem`` and ``complete_answer`` belong to other questions in some rows, so only ``original_question`` and
``original_answer`` are read, with ``solution``'s letter as a second witness.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Literal

from pydantic import Field

from datamodules.annotations.base import Manifest, TrainingSource
from datamodules.annotations.choices import find_answer, question_and_choices
from modules.files.row_files import rows_of
from modules.files.rows import Fields, Label, LabelIfAny, Once, Row, RowError, Said, Text, read
from modules.parsing import tagged_answer
from modules.records import VideoQuestion

_MARKERS = re.compile(r"<(?:image|video)>")
_INSTRUCTIONS = (
    "Please provide your answer by stating the letter followed by the full option.",
    "Please respond with only the letter of the correct answer.",
)


def _clean(text: str) -> str:
    text = _MARKERS.sub("", text)
    for sentence in _INSTRUCTIONS:
        text = text.replace(sentence, "")
    return text.strip()


class _Question(Fields):
    id: LabelIfAny = None
    video: Text
    original_question: Text
    original_answer: Once = None
    solution: Said = ""
    type: Label = "general"


class TSPO10K(TrainingSource):
    """TSPO-10K. Its questions about a whole video are ``general``, its needles ``specific`` (group ``type``).

    Args: see `AnnotationSource`; ``videos`` is LLaVA-Video-178K's folder.
    """

    dataset = "tspo_10k"

    def read_row(self, row: Row, manifest: Manifest) -> VideoQuestion | None:
        fields = read(_Question, row)
        row_id = fields.id or str(row.number)
        with row.reading("original_question", fields.original_question):
            text, choices = question_and_choices(_clean(fields.original_question))
        if not choices.texts:
            manifest.drop("no options found in original_question", row_id)
            return None
        with row.reading("original_answer", fields.original_answer):
            answer = find_answer(fields.original_answer, choices, "letter", manifest.repairs)
        with row.reading("solution", fields.solution):
            letter = find_answer(tagged_answer(fields.solution), choices, "letter", manifest.repairs)
        if answer is not None and letter is not None and answer != letter:
            manifest.drop("solution and original_answer name different options", row_id)
            return None
        answer = letter if answer is None else answer
        if answer is None:
            manifest.drop("no answer", row_id)
            return None
        return self.question(
            row,
            row_id,
            manifest,
            choices,
            video=self.locate(row, "video", fields.video),
            question=text,
            answer_index=answer,
            groups={"type": fields.type},
        )


class _Asked(Fields):
    who: Literal["human"] = Field(alias="from")
    value: Text


class _Said(Fields):
    who: Literal["gpt"] = Field(alias="from")
    value: Text


class _Turns(Fields):
    asked: _Asked
    said: _Said


class _Conversation(Fields):
    id: Label
    video: Text
    data_source: LabelIfAny = None


class LLaVAVideo(TrainingSource):
    """LLaVA-Video-178K and whatever has its form: ``{id, video, conversations: [{from, value}, ...]}``.

    A row may hold several turns; those that are not multiple choice (captions, open questions) are left out, counted.

    Args: see `AnnotationSource`.
    """

    dataset = "llava_video_178k"

    def rows(self, manifest: Manifest) -> list[Row]:
        """A row a question with its answer."""
        found = [pair for row in rows_of(self.annotations) for pair in _pairs(row)]
        self.note_file(manifest, self.annotations, len(found))
        self._times_seen: Counter[str] = Counter()
        return found

    def read_row(self, row: Row, manifest: Manifest) -> VideoQuestion | None:
        fields = read(_Conversation, row.whole or row)
        if row.whole is None:
            raise RowError(row, "conversations", row.content.get("conversations"), "turns of human and gpt by turns")
        turns, row_id = read(_Turns, row), self._id(f"{fields.id}-{row.number}", manifest)
        with row.reading("conversations", turns.asked.value):
            text, choices = question_and_choices(_clean(turns.asked.value))
        if not choices.texts:
            manifest.drop("not multiple choice", row_id)
            return None
        with row.reading("conversations", turns.said.value):
            answer = find_answer(turns.said.value, choices, "letter", manifest.repairs)
        if answer is None:
            manifest.drop("no answer", row_id)
            return None
        return self.question(
            row,
            row_id,
            manifest,
            choices,
            video=self.locate(row, "video", fields.video),
            question=text,
            answer_index=answer,
            groups={"source": fields.data_source} if fields.data_source else {},
        )

    def _id(self, row_id: str, manifest: Manifest) -> str:
        """The published parts repeat ids: from the second time on, a number is added."""
        self._times_seen[row_id] += 1
        if self._times_seen[row_id] == 1:
            return row_id
        manifest.repairs["an id occurs again; a number is added"] += 1
        return f"{row_id}-{self._times_seen[row_id]}"


def _pairs(row: Row) -> list[Row]:
    """A row for each two turns, known by their number in the conversation; the row itself where there are none."""
    turns = row.content.get("conversations") if isinstance(row.content, dict) else None
    if not isinstance(turns, list) or not turns or len(turns) % 2:
        return [row]
    return [
        row.part(f"turn {n + 1}", n, {"asked": turns[2 * n], "said": turns[2 * n + 1]}) for n in range(len(turns) // 2)
    ]
