"""NExT-GQA: ``{val,test,train}.csv`` with ``gsub_{val,test}.json`` (evidence) and ``map_vid_vidorID.json`` beside.

Options are a0..a4, the answer is the text of one; questions are lower case without a question mark and stay so.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from datamodules.annotations.base import AnnotationSource, Manifest
from datamodules.annotations.choices import choices_of, find_answer
from datamodules.annotations.evidence_spans import Spans, as_spans, within
from modules.files.row_files import read_json, rows_of
from modules.files.rows import Fields, FileError, Label, Once, Row, Said, SecondsIfAny, Text, read
from modules.records import VideoQuestion

_TYPES = {
    "CW": "causal why",
    "CH": "causal how",
    "TN": "temporal next",
    "TC": "temporal current",
    "TP": "temporal previous",
}


class _Question(Fields):
    video_id: Label
    qid: Label
    question: Text
    type: Label
    answer: Once
    a0: Said = ""
    a1: Said = ""
    a2: Said = ""
    a3: Said = ""
    a4: Said = ""


class _Grounding(Fields):
    duration: SecondsIfAny = None
    location: dict[str, Any] = {}


class NExTGQA(AnnotationSource):
    """NExT-GQA; arguments as of `AnnotationSource`.

    ``annotations`` is the CSV file, or the folder of all files (then by ``split``).
    """

    dataset = "nextgqa"
    published = {"val": (3358, 567), "test": (5553, 990)}

    def rows(self, manifest: Manifest) -> list[Row]:
        file = self.annotations / f"{self.split}.csv" if self.annotations.is_dir() else self.annotations
        rows = rows_of(file)
        self.note_file(manifest, file, len(rows))
        self._grounding = self._json(file.with_name(f"gsub_{file.stem}.json"), manifest)
        self._video_names = self._json(file.with_name("map_vid_vidorID.json"), manifest)
        return rows

    def read_row(self, row: Row, manifest: Manifest) -> VideoQuestion | None:
        fields = read(_Question, row)
        choices = choices_of([fields.a0, fields.a1, fields.a2, fields.a3, fields.a4])
        with row.reading("answer", fields.answer):
            answer_index = find_answer(fields.answer, choices, "text", manifest.repairs)
        duration_s, evidence_s = self._evidence(fields.video_id, fields.qid, manifest)
        return self.question(
            row,
            f"{fields.video_id}_{fields.qid}",
            manifest,
            choices,
            video=self._video(row, fields.video_id),
            question=fields.question,
            duration_s=duration_s,
            evidence_s=evidence_s,
            answer_index=answer_index,
            groups={"type": _TYPES.get(fields.type, fields.type)},
        )

    def _evidence(self, video_id: str, qid: str, manifest: Manifest) -> tuple[float, Spans]:
        """Length of a video, and where a question about it is answered."""
        file, content = self._grounding
        about = Row(file, f"video {video_id!r}", 0, content.get(video_id, {}))
        grounding = read(_Grounding, about)
        spans, duration_s = grounding.location.get(qid), grounding.duration or 0.0
        with about.reading(f"location.{qid}", spans):
            evidence_s = within(as_spans(spans), duration_s, manifest.repairs)
        if not evidence_s:
            manifest.repairs["no evidence interval is given; left empty"] += 1
        return duration_s, evidence_s

    def _video(self, row: Row, video_id: str) -> str:
        file, names = self._video_names
        name = names.get(video_id, video_id)
        if not isinstance(name, str):
            raise FileError(f"{file}, video {video_id!r}: {name!r:.80} is no file name")
        return self.locate(row, "video_id", name, video_id)

    def _json(self, path: Path, manifest: Manifest) -> tuple[Path, dict[str, Any]]:
        """A file that lies beside the table, with what it says about each video; nothing where it is not there."""
        if not path.is_file():
            manifest.repairs[f"{path.name} is not there"] += 1
            return path, {}
        self.note_file(manifest, path, 0)
        content = read_json(path, "annotations")
        if not isinstance(content, dict):
            raise FileError(f"annotations {path} cannot be read: an object with a field a video was expected")
        return path, content
