"""MLVU, dev and test: the original folder of JSON files, one a task (answers as texts), the repacked table (options
inside the question, answers as letters), or TSV.

Some candidates occur twice in a question, and a few answers are none of the candidates. Task names differ between the
layouts; here they are the repack's. The original's two generation tasks have no options and are left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from datamodules.annotations.base import AnnotationSource, Manifest
from datamodules.annotations.choices import OptionsIfAny, find_answer, question_and_choices
from datamodules.annotations.vlmevalkit import is_vlmevalkit, question_of
from modules.files.row_files import rows_of
from modules.files.rows import Fields, FileError, LabelIfAny, Once, Row, RowError, SecondsIfAny, Text, TextIfAny, read
from modules.records import VideoQuestion

_TASKS = {"findNeedle": "needle", "anomaly_recognition": "anomaly_reco"}
_GENERATION = ("subPlot", "sub_scene", "summary")


class _Task(Fields):
    task_type: TextIfAny = None
    question_type: TextIfAny = None
    task_name: TextIfAny = None
    question_id: LabelIfAny = None


class _Question(Fields):
    video_name: TextIfAny = None
    video: TextIfAny = None
    duration: SecondsIfAny = None
    question: Text
    candidates: OptionsIfAny = ()
    answer: Once = None


class MLVU(AnnotationSource):
    """MLVU's multiple choice; arguments as of `AnnotationSource`.

    ``annotations`` may be the folder of the original JSON files.
    """

    dataset = "mlvu"
    published = {"dev": (2174, 1122)}

    def __init__(self, *, split: str = "dev", **kwargs: Any) -> None:
        super().__init__(split=split, **kwargs)

    def rows(self, manifest: Manifest) -> Iterator[Row]:
        files = sorted(self.annotations.glob("*.json")) if self.annotations.is_dir() else [self.annotations]
        if not files:
            raise FileError(f"annotations {self.annotations}: no JSON files in this folder")
        for file in files:
            rows = rows_of(file)
            self.note_file(manifest, file, len(rows))
            yield from rows

    def read_row(self, row: Row, manifest: Manifest) -> VideoQuestion | None:
        told = read(_Task, row)
        named = told.task_type or told.question_type or told.task_name or row.file.stem.partition("_")[2]
        task = _TASKS.get(named, named)
        row_id = told.question_id or f"{row.file.stem}_{row.number}"
        if task in _GENERATION:
            manifest.drop(f"{task} is a generation task, without options", row_id)
            return None
        if is_vlmevalkit(row.content):
            return self._from_tsv(row, task, manifest)
        fields = read(_Question, row)
        name, field = fields.video_name or fields.video, "video_name" if fields.video_name else "video"
        if name is None:
            raise RowError(row, "", None, "there is no field 'video' and no field 'video_name'")
        with row.reading("candidates", fields.candidates or fields.question):
            text, choices = question_and_choices(fields.question, fields.candidates)
        with row.reading("answer", fields.answer):
            convention = "letter" if fields.video_name else "text"  # repacked, or original
            answer_index = find_answer(fields.answer, choices, convention, manifest.repairs)  # type: ignore[arg-type]
        return self.question(
            row,
            row_id,
            manifest,
            choices,
            video=self.locate(row, field, name, f"{row.file.stem}/{name}"),
            question=text,
            duration_s=fields.duration or 0.0,
            answer_index=answer_index,
            groups={"task": task},
        )

    def _from_tsv(self, row: Row, task: str, manifest: Manifest) -> VideoQuestion | None:
        fields, text, choices, answer_index = question_of(row, manifest.repairs)
        return self.question(
            row,
            fields.index,
            manifest,
            choices,
            video=self.locate(row, "video_name", fields.video_name),
            question=text,
            answer_index=answer_index,
            groups={"task": task},
        )
