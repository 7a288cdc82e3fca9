"""EgoMem: the JSON file of VideoLucy's authors, twelve questions on each of 42 days that somebody filmed.

As it was published, 208 of the 504 answers are A, 133 of them among the 252 event questions: "always A" gets 41.3 % and
52.8 %, more than most systems of the paper. So options are shuffled here, which ``shuffle: null`` leaves out, and what
guessing would have got is said. Four questions name no option that is there (two give no answer and two say E, which
the file has left out); they are dropped and counted.
"""

from __future__ import annotations

import logging
from collections import Counter

from datamodules.annotations.base import Annotations, AnnotationSource, Manifest, OnBadRow
from datamodules.annotations.choices import Options, choices_of, find_answer
from datamodules.annotations.shuffled_options import shuffled
from modules.files.paths import InputPath
from modules.files.rows import Fields, Label, LabelIfAny, Row, Text, read
from modules.parsing import LETTERS
from modules.records import VideoQuestion

_log = logging.getLogger(__name__)
_BROKEN = "the answer is none of the options (of 504 questions as published, 4 are like that)"


class _Question(Fields):
    videoID: Text  # noqa: N815  as published
    question_id: Label
    type: Label
    question: Text
    options: Options
    answer: LabelIfAny = None


class EgoMem(AnnotationSource):
    """EgoMem; groups: ``type``, ``Event`` or ``Detail``.

    Args:
        annotations: ``EgoMem.json``.
        videos: folder of the days' videos, e.g. ``A1_JAKE_DAY1.mp4``.
        split: name given to the questions.
        limit: only the first so many questions.
        shuffle: seed by which the options of every question are shuffled; None leaves them as they were published.
    """

    dataset = "egomem"
    published = {"test": (500, 42)}  # 504, less the four without an answer

    def __init__(
        self,
        *,
        annotations: InputPath,
        videos: InputPath,
        split: str = "test",
        limit: int | None = None,
        shuffle: int | None = 0,
    ) -> None:
        super().__init__(annotations=annotations, videos=videos, split=split, limit=limit)
        self.shuffle = shuffle
        self._answers: Counter[int] = Counter()
        """Places of the right options, as published."""

    def load(self, on_bad_row: OnBadRow = "raise") -> Annotations:
        self._answers.clear()
        annotations = super().load(on_bad_row)
        if number := self._answers.total():
            share = 100 * self._answers[0] / number
            order = "kept in that order" if self.shuffle is None else f"shuffled by seed {self.shuffle}"
            note = f'in the published order "always A" answers {share:.1f} % rightly; options are {order}'
            annotations.manifest.notes.append(note)
            _log.warning("%s/%s: %s", self.dataset, self.split, note)
        return annotations

    def read_row(self, row: Row, manifest: Manifest) -> VideoQuestion | None:
        fields = read(_Question, row)
        row_id = f"{fields.videoID}-{fields.question_id}"
        choices = choices_of(fields.options)
        letter = (fields.answer or "").strip().upper().rstrip(".")
        if not letter or (letter in LETTERS and LETTERS.index(letter) not in choices.places):
            manifest.drop(_BROKEN, row_id)
            return None
        with row.reading("answer", fields.answer):
            answer_index = find_answer(fields.answer, choices, "letter", manifest.repairs)
        question = self.question(
            row,
            row_id,
            manifest,
            choices,
            video=self.locate(row, "videoID", fields.videoID),
            question=fields.question,
            answer_index=answer_index,
            groups={"type": fields.type},
        )
        if question is None or answer_index is None:
            return question
        self._answers[answer_index] += 1
        return question if self.shuffle is None else shuffled(question, self.shuffle)
