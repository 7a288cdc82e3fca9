"""LongVideoBench: ``lvb_val.json`` (candidates), the Hub's parquet (option0..option4, "N/A" for none), or TSV.

Video ids that begin with "@" have files named by their last 19 characters. ``position`` counts frames of the
annotators' own decoding, so it is no time and no evidence here. Subtitles run in the time of the uncut source.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from datamodules.annotations.annotation_files import inside
from datamodules.annotations.base import Manifest, SubtitledTable
from datamodules.annotations.choices import Options, choices_of, find_place
from datamodules.annotations.subtitles import Subtitle, read_subtitles
from datamodules.annotations.vlmevalkit import is_vlmevalkit, question_of
from modules.files.rows import Fields, Label, LabelIfAny, NumberIfAny, Once, Row, Seconds, Text, TextIfAny, read
from modules.records import VideoQuestion

_AT_NAME_LENGTH = 19


class _Question(Fields):
    id: Label
    video_id: Text
    video_path: TextIfAny = None
    question: Text
    correct_choice: Once = None
    duration: Seconds
    duration_group: Label
    question_category: LabelIfAny = None
    level: LabelIfAny = None
    subtitle_path: TextIfAny = None
    starting_timestamp_for_subtitles: NumberIfAny = None


class _Listed(Fields):
    candidates: Options


class _InColumns(Fields):
    option0: TextIfAny = None
    option1: TextIfAny = None
    option2: TextIfAny = None
    option3: TextIfAny = None
    option4: TextIfAny = None

    @property
    def options(self) -> tuple[str | None, ...]:
        return self.option0, self.option1, self.option2, self.option3, self.option4


class LongVideoBench(SubtitledTable):
    """LongVideoBench, in its own JSON or VLMEvalKit's table.

    Args:
        annotations, videos, split, limit: see `AnnotationSource`.
        subtitles: folder of the subtitles; None leaves them out.
    """

    dataset = "longvideobench"
    published = {"val": (1337, 753)}

    def __init__(self, *, split: str = "val", **kwargs: Any) -> None:
        super().__init__(split=split, **kwargs)

    def read_row(self, row: Row, manifest: Manifest) -> VideoQuestion | None:
        return self._from_tsv(row, manifest) if is_vlmevalkit(row.content) else self._from_json(row, manifest)

    def _from_json(self, row: Row, manifest: Manifest) -> VideoQuestion | None:
        fields = read(_Question, row)
        listed = "candidates" in row.content
        choices = choices_of(read(_Listed, row).candidates if listed else read(_InColumns, row).options)
        with row.reading("correct_choice", fields.correct_choice):
            answer_index = find_place(fields.correct_choice, choices)
        told = {"duration": fields.duration_group, "category": fields.question_category, "level": fields.level}
        return self.question(
            row,
            fields.id,
            manifest,
            choices,
            video=self._video(row, fields.video_id, fields.video_path),
            duration_s=fields.duration,
            question=fields.question,
            answer_index=answer_index,
            groups={group: label for group, label in told.items() if label is not None},
            subtitles=self._subtitles(row, fields),
        )

    def _from_tsv(self, row: Row, manifest: Manifest) -> VideoQuestion | None:
        fields, question, choices, answer_index = question_of(row, manifest.repairs)
        return self.question(
            row,
            fields.index,
            manifest,
            choices,
            video=self._video(row, fields.video_name, None),
            question=question,
            answer_index=answer_index,
            groups={"category": fields.task_name},
        )

    def _video(self, row: Row, video_id: str, file_name: str | None) -> str:
        stem = Path(video_id).stem if video_id.endswith(".mp4") else video_id
        names = [file_name or f"{stem}.mp4", stem]
        if stem.startswith("@"):
            names.append(stem[-_AT_NAME_LENGTH:])
        return self.locate(row, "video_path" if file_name else "video_id", *names)

    def _subtitles(self, row: Row, fields: _Question) -> tuple[Subtitle, ...]:
        if self.subtitles is None or not fields.subtitle_path:
            return ()
        with row.reading("subtitle_path", fields.subtitle_path):
            path = inside(self.subtitles, fields.subtitle_path)
        return read_subtitles(path, fields.starting_timestamp_for_subtitles or 0.0, fields.duration)
