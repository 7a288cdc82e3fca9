"""MLVU, dev and test: the original folder of JSON files, one a task (answers as texts), the repacked table (options
inside the question, answers as letters), or TSV.

Some candidates occur twice in a question, and a few answers are none of the candidates. Task names differ between the
layouts; here they are the repack's. The original's two generation tasks have no options and are left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from datamodules.annotations.base import AnnotationSource, Manifest
from datamodules.annotations.choices import find_answer, split_question, without_letters
from datamodules.annotations.tables import read_list, read_rows
from datamodules.annotations.vlmevalkit import is_vlmevalkit, question_of
from modules.records import VideoQuestion

_TASKS = {"findNeedle": "needle", "anomaly_recognition": "anomaly_reco"}
_GENERATION = ("subPlot", "sub_scene", "summary")


class MLVU(AnnotationSource):
    """Args: see `AnnotationSource`; ``annotations`` may be the folder of the original JSON files."""

    dataset = "mlvu"
    published = {"dev": (2174, 1122)}

    def __init__(self, *, annotations: str, videos: str, split: str = "dev", limit: int | None = None) -> None:
        super().__init__(annotations=annotations, videos=videos, split=split, limit=limit)

    def read(self, manifest: Manifest) -> Iterator[VideoQuestion]:
        files = sorted(self.annotations.glob("*.json")) if self.annotations.is_dir() else [self.annotations]
        if not files:
            raise ValueError(f"annotations {self.annotations}: no JSON files in this folder")
        for file in files:
            rows = read_rows(file)
            self.note_file(manifest, file, len(rows))
            for n, row in enumerate(rows):
                row_id, task = self._id(row, file, n), self._task(row, file)
                if task in _GENERATION:
                    manifest.drop(f"{task} is a generation task, without options", row_id)
                    continue
                question = self._question(row, row_id, task, file, manifest)
                if question is not None:
                    yield question

    def _id(self, row: dict[str, Any], file: Path, n: int) -> str:
        if is_vlmevalkit(row):
            return str(row["index"])
        return str(row["question_id"]) if "question_id" in row else f"{file.stem}_{n}"

    def _task(self, row: dict[str, Any], file: Path) -> str:
        named = row.get("task_type") or row.get("question_type") or row.get("task_name")
        task = str(named) if named else file.stem.partition("_")[2]
        return _TASKS.get(task, task)

    def _question(
        self, row: dict[str, Any], row_id: str, task: str, file: Path, manifest: Manifest
    ) -> VideoQuestion | None:
        if is_vlmevalkit(row):
            text, options, answer_index = question_of(row, manifest.repairs)
        else:
            text, inside = split_question(str(row["question"]))
            options = without_letters(read_list(row["candidates"])) if row.get("candidates") else inside
            answer_index = find_answer(row.get("answer"), options, manifest.repairs)
        if len(set(options)) < len(options):
            manifest.repairs["two options have the same text; both are kept"] += 1
        name = str(row.get("video_name") or row["video"])
        return self.question(
            row_id, manifest, options, video=self.locate(name, f"{file.stem}/{name}"), question=text,
            duration_s=float(row.get("duration") or 0.0), answer_index=answer_index, groups={"task": task},
        )  # fmt: skip
