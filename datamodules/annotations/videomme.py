"""Video-MME: the Hub's parquet or JSON (options "A. ..."), or TSV; with or without subtitles (``subtitle/<id>.srt``).

Files are named by the YouTube id (``videoID``), which may begin with "-"; ``video_id`` "001" must stay text.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from datamodules.annotations.base import Manifest, SubtitledTable
from datamodules.annotations.choices import find_answer, without_letters
from datamodules.annotations.subtitles import read_subtitles
from datamodules.annotations.tables import read_list
from datamodules.annotations.vlmevalkit import is_vlmevalkit, question_of
from modules.records import VideoQuestion


class VideoMME(SubtitledTable):
    """Args:
    annotations, videos, split, limit: see `AnnotationSource`.
    subtitles: folder of ``.srt`` files; None is the benchmark's "without subtitles".
    """

    dataset = "videomme"
    published = {"test": (2700, 900)}

    def read_row(self, row: dict[str, Any], manifest: Manifest) -> VideoQuestion | None:
        if is_vlmevalkit(row):
            row_id, name = str(row["index"]), Path(str(row["video_name"])).stem
            text, options, answer_index = question_of(row, manifest.repairs)
            groups = {"task": str(row["task_name"])}
        else:
            row_id, name, text = str(row["question_id"]), str(row["videoID"]), str(row["question"]).strip()
            options = without_letters(read_list(row["options"]))
            answer_index = find_answer(row.get("answer"), options, manifest.repairs)
            columns = {"duration": "duration", "domain": "domain", "sub_category": "category", "task_type": "task"}
            groups = {group: str(row[column]) for column, group in columns.items() if row.get(column)}
        subtitles = () if self.subtitles is None else read_subtitles(self.subtitles / f"{name}.srt")
        return self.question(
            row_id, manifest, options, video=self.locate(name), question=text, answer_index=answer_index, groups=groups,
            subtitles=subtitles,
        )  # fmt: skip
