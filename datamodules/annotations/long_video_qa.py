"""Long-video questions in one JSON, with pass rates: our form of MSJoE's training data, which is not public.

A list of ``{id, video, duration, question, options, answer, type, pass_rate, evidence}``: ``duration`` and the spans of
``evidence`` in seconds, ``options`` without letters, ``answer`` a letter, an option's text, or both ("B. text": written
here, since a letter may be another option's text), ``pass_rate`` 0..1. Only video, question, options and answer have to
be there.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from datamodules.annotations.annotation_files import name_below
from datamodules.annotations.base import Manifest, TrainingSource
from datamodules.annotations.choices import Options, choices_of, find_answer
from datamodules.annotations.evidence_spans import SpansIfAny, within
from modules.files.rows import Fields, LabelIfAny, Once, Row, SecondsIfAny, ShareIfAny, Text, read
from modules.files.strict_json import strict_json
from modules.parsing import LETTERS
from modules.records import VideoQuestion


class _Question(Fields):
    id: LabelIfAny = None
    video: Text
    question: Text
    options: Options
    answer: Once
    duration: SecondsIfAny = None
    type: LabelIfAny = None
    pass_rate: ShareIfAny = None
    evidence: SpansIfAny = ()


class LongVideoQA(TrainingSource):
    """Long-video questions in our own form; arguments as of `AnnotationSource`."""

    dataset = "long_video_qa"

    def read_row(self, row: Row, manifest: Manifest) -> VideoQuestion | None:
        fields = read(_Question, row)
        row_id, duration_s = fields.id or str(row.number), fields.duration or 0.0
        choices = choices_of(fields.options)
        with row.reading("answer", fields.answer):
            answer = find_answer(fields.answer, choices, "either", manifest.repairs)
        if answer is None:
            manifest.drop("no answer", row_id)
            return None
        with row.reading("evidence", fields.evidence):
            evidence_s = within(fields.evidence, duration_s, manifest.repairs)
        return self.question(
            row,
            row_id,
            manifest,
            choices,
            video=self.locate(row, "video", fields.video),
            question=fields.question,
            answer_index=answer,
            duration_s=duration_s,
            evidence_s=evidence_s,
            groups={"type": fields.type} if fields.type else {},
            pass_rate=fields.pass_rate,
        )


def write_long_video_qa(
    path: Path, questions: list[VideoQuestion], durations_s: dict[str, float | None], root: Path
) -> None:
    """Writes questions in this form, videos relative to ``root`` where they lie below it."""
    rows: list[dict[str, Any]] = []
    for q in questions:
        assert q.answer_index is not None
        rows.append(
            {
                "id": q.sample_id,
                "video": name_below(root, q.video),
                "duration": durations_s.get(q.video) or q.duration_s,
                "question": q.question,
                "options": list(q.options),
                "answer": f"{LETTERS[q.answer_index]}. {q.answer}",
                "type": q.groups.get("type", q.groups.get("kind", "")),
                "pass_rate": q.pass_rate,
                "evidence": [list(span) for span in q.evidence_s],
            }
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(strict_json(rows, ensure_ascii=False, indent=1) + "\n")
