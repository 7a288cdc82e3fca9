"""LongVideoBench: ``lvb_val.json`` (candidates), the Hub's parquet (option0..option4, "N/A" for none), or TSV.

Video ids that begin with "@" have files named by their last 19 characters. ``position`` counts frames of the
annotators' own decoding, so it is no time and no evidence here. Subtitles run in the time of the uncut source.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from datamodules.annotations.base import Manifest, SubtitledTable
from datamodules.annotations.choices import find_answer, without_letters
from datamodules.annotations.subtitles import read_subtitles
from datamodules.annotations.vlmevalkit import is_vlmevalkit, question_of
from modules.records import VideoQuestion

_AT_NAME_LENGTH = 19


class LongVideoBench(SubtitledTable):
    """Args:
    annotations, videos, split, limit: see `AnnotationSource`.
    subtitles: folder of the subtitles; None leaves them out.
    """

    dataset = "longvideobench"
    published = {"val": (1337, 753)}

    def __init__(
        self,
        *,
        annotations: str,
        videos: str,
        split: str = "val",
        limit: int | None = None,
        subtitles: str | None = None,
    ) -> None:
        super().__init__(annotations=annotations, videos=videos, split=split, limit=limit, subtitles=subtitles)

    def read_row(self, row: dict[str, Any], manifest: Manifest) -> VideoQuestion | None:
        return self._from_tsv(row, manifest) if is_vlmevalkit(row) else self._from_json(row, manifest)

    def _from_json(self, row: dict[str, Any], manifest: Manifest) -> VideoQuestion | None:
        sample_id, duration_s = str(row["id"]), float(row["duration"])
        options = without_letters(row["candidates"] if "candidates" in row else [row[f"option{o}"] for o in range(5)])
        subtitles: tuple = ()
        if self.subtitles is not None and row.get("subtitle_path"):
            offset_s = float(row.get("starting_timestamp_for_subtitles") or 0.0)
            subtitles = read_subtitles(self.subtitles / row["subtitle_path"], offset_s, duration_s)
        category = row.get("question_category")
        return self.question(
            sample_id, manifest, options,
            video=self._video(str(row["video_id"]), row.get("video_path")), duration_s=duration_s,
            question=str(row["question"]),
            answer_index=find_answer(row.get("correct_choice"), options, manifest.repairs),
            groups={
                "duration": str(row["duration_group"]),
                **({"category": str(category), "level": str(row["level"])} if category else {}),
            },
            subtitles=subtitles,
        )  # fmt: skip

    def _from_tsv(self, row: dict[str, Any], manifest: Manifest) -> VideoQuestion | None:
        question, options, answer_index = question_of(row, manifest.repairs)
        return self.question(
            str(row["index"]), manifest, options, video=self._video(str(row["video_name"]), None), question=question,
            answer_index=answer_index, groups={"category": str(row["task_name"])},
        )  # fmt: skip

    def _video(self, video_id: str, file_name: str | None) -> str:
        stem = Path(video_id).stem if video_id.endswith(".mp4") else video_id
        names = [file_name or f"{stem}.mp4", stem]
        if stem.startswith("@"):
            names.append(stem[-_AT_NAME_LENGTH:])
        return self.locate(*names)
