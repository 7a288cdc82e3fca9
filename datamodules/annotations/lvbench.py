"""LVBench: the original ``video_info.meta.jsonl`` (one video a line, questions inside), the repacked table, or TSV.

A question has several types. ``time_reference`` is the evidence, "MM:SS-MM:SS" with minutes of up to three digits; two
say None and in thirteen the end comes first, which is turned round and counted. Four ``uid`` are numbers. A video's
length is given in minutes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import PlainValidator

from datamodules.annotations.base import AnnotationSource, Manifest
from datamodules.annotations.choices import OptionsIfAny, find_answer, question_and_choices
from datamodules.annotations.evidence_spans import Spans, within
from datamodules.annotations.subtitles import seconds
from datamodules.annotations.vlmevalkit import is_vlmevalkit, question_of
from modules.files.row_files import rows_of
from modules.files.rows import Fields, LabelIfAny, Once, Row, RowError, SecondsIfAny, Text, TextIfAny, as_label, read
from modules.records import VideoQuestion

_LENGTH_SLACK_S = 60.0
_INTERVAL = re.compile(r"([0-9]{1,4}(?::[0-9]{1,2}){1,2}) ?- ?([0-9]{1,4}(?::[0-9]{1,2}){1,2})")


def _labels(value: Any) -> tuple[str, ...]:
    if isinstance(value, (list, tuple)):
        return tuple(as_label(label) for label in value)
    return () if value is None or value == "" else (as_label(value),)


class _Length(Fields):
    duration_minutes: SecondsIfAny = None


class _Video(Fields):
    key: TextIfAny = None
    video_path: TextIfAny = None
    type: LabelIfAny = None
    video_info: _Length | None = None


class _Question(Fields):
    uid: LabelIfAny = None
    question: Text
    options: OptionsIfAny = ()
    answer: Once = None
    question_type: Annotated[tuple[str, ...], PlainValidator(_labels)] = ()
    time_reference: TextIfAny = None


class LVBench(AnnotationSource):
    """LVBench, in its own JSON, a table or VLMEvalKit's; arguments as of `AnnotationSource`."""

    dataset = "lvbench"
    published = {"test": (1549, 103)}

    def rows(self, manifest: Manifest) -> list[Row]:
        """A row a question."""
        found = list(self._questions_of(rows_of(self.annotations)))
        self.note_file(manifest, self.annotations, len(found))
        return found

    def _questions_of(self, rows: list[Row]) -> Iterator[Row]:
        number = 0
        for row in rows:
            inner = row.content.get("qa") if isinstance(row.content, dict) else None
            if isinstance(inner, list):
                for n, content in enumerate(inner, 1):
                    yield row.part(f"question {n}", number, content)
                    number += 1
            else:
                yield replace(row, number=number)
                number += 1

    def read_row(self, row: Row, manifest: Manifest) -> VideoQuestion | None:
        if is_vlmevalkit(row.content):
            return self._from_tsv(row, manifest)
        video, fields = read(_Video, row.whole or row), read(_Question, row)
        name = video.key or video.video_path
        if name is None:
            raise RowError(row, "", None, "there is no field 'key' and no field 'video_path'")
        with row.reading("options", fields.options or fields.question):
            text, choices = question_and_choices(fields.question, fields.options)
        with row.reading("answer", fields.answer):
            answer_index = find_answer(fields.answer, choices, "letter", manifest.repairs)
        minutes = video.video_info.duration_minutes if video.video_info else None
        duration_s = 60.0 * (minutes or 0.0)
        groups: dict[str, str | tuple[str, ...]] = {"type": fields.question_type} if fields.question_type else {}
        if video.type:
            groups["category"] = video.type
        return self.question(
            row,
            fields.uid or f"{Path(name).stem}-{row.number}",
            manifest,
            choices,
            video=self.locate(row, "key" if video.key else "video_path", name, Path(name).stem),
            question=text,
            answer_index=answer_index,
            groups=groups,
            duration_s=duration_s,
            evidence_s=self._evidence(row, fields.time_reference, duration_s, manifest),
        )

    def _from_tsv(self, row: Row, manifest: Manifest) -> VideoQuestion | None:
        fields, text, choices, answer_index = question_of(row, manifest.repairs)
        name = fields.video_name
        return self.question(
            row,
            fields.index,
            manifest,
            choices,
            video=self.locate(row, "video_name", name, Path(name).stem),
            question=text,
            answer_index=answer_index,
            groups={"type": (fields.task_name,)},
        )

    def _evidence(self, row: Row, reference: str | None, duration_s: float, manifest: Manifest) -> Spans:
        if reference is None:
            return ()
        clocks = _INTERVAL.fullmatch(reference.strip())
        if clocks is None:
            manifest.repairs["no evidence interval is given; left empty"] += 1
            return ()
        with row.reading("time_reference", reference):
            span = seconds(clocks[1]), seconds(clocks[2])
            return within((span,), duration_s, manifest.repairs, _LENGTH_SLACK_S)
