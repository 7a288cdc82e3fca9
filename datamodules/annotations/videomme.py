"""Video-MME: the Hub's parquet or JSON (options "A. ..."), or TSV; with or without subtitles (``subtitle/<id>.srt``).

Files are named by the YouTube id (``videoID``), which may begin with "-"; ``video_id`` "001" must stay text.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from datamodules.annotations.annotation_files import inside
from datamodules.annotations.base import Manifest, SubtitledTable
from datamodules.annotations.choices import Options, find_answer, question_and_choices
from datamodules.annotations.subtitles import Subtitle, read_subtitles
from datamodules.annotations.vlmevalkit import is_vlmevalkit, question_of
from modules.files.rows import Fields, Label, LabelIfAny, Once, Row, Text, read
from modules.records import VideoQuestion


class _Question(Fields):
    question_id: Label
    video: Text = Field(alias="videoID")
    question: Text
    options: Options
    answer: Once = None
    duration: LabelIfAny = None
    domain: LabelIfAny = None
    category: LabelIfAny = Field(None, alias="sub_category")
    task: LabelIfAny = Field(None, alias="task_type")

    @property
    def groups(self) -> dict[str, str]:
        return self.model_dump(include={"duration", "domain", "category", "task"}, exclude_none=True)


class VideoMME(SubtitledTable):
    """Video-MME, in its own table or VLMEvalKit's.

    Args:
        annotations, videos, split, limit: see `AnnotationSource`.
        subtitles: folder of ``.srt`` files; None is the benchmark's "without subtitles".
    """

    dataset = "videomme"
    published = {"test": (2700, 900)}

    def read_row(self, row: Row, manifest: Manifest) -> VideoQuestion | None:
        return self._from_tsv(row, manifest) if is_vlmevalkit(row.content) else self._from_json(row, manifest)

    def _from_json(self, row: Row, manifest: Manifest) -> VideoQuestion | None:
        fields = read(_Question, row)
        with row.reading("options", fields.options):
            question, choices = question_and_choices(fields.question, fields.options)
        with row.reading("answer", fields.answer):
            answer_index = find_answer(fields.answer, choices, "letter", manifest.repairs)
        return self.question(
            row,
            fields.question_id,
            manifest,
            choices,
            video=self.locate(row, "videoID", fields.video),
            question=question,
            answer_index=answer_index,
            groups=fields.groups,
            subtitles=self._subtitles(row, "videoID", fields.video),
        )

    def _from_tsv(self, row: Row, manifest: Manifest) -> VideoQuestion | None:
        fields, question, choices, answer_index = question_of(row, manifest.repairs)
        name = Path(fields.video_name).stem
        return self.question(
            row,
            fields.index,
            manifest,
            choices,
            video=self.locate(row, "video_name", name),
            question=question,
            answer_index=answer_index,
            groups={"task": fields.task_name},
            subtitles=self._subtitles(row, "video_name", name),
        )

    def _subtitles(self, row: Row, field: str, name: str) -> tuple[Subtitle, ...]:
        if self.subtitles is None:
            return ()
        with row.reading(field, name):
            path = inside(self.subtitles, f"{name}.srt")
        return read_subtitles(path)
