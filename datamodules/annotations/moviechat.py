"""MovieChat-1K: a JSON file a video, or a folder of them; open questions about the whole and about one moment.

``info`` names the video and its rate; ``global`` has questions about the whole video, ``breakpoint`` questions that are
asked at the frame ``time``, of what has been seen until then (`VideoQuestion.until_s`). The published test files leave
the answers out; such questions are kept without a reference.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from datamodules.annotations.base import AnnotationSource, Manifest
from modules.files.row_files import read_json
from modules.files.rows import Fields, FileError, Row, RowError, SecondsIfAny, Text, TextIfAny, read
from modules.records import VideoQuestion

MODES = ("global", "breakpoint")


class _Info(Fields):
    video_path: Text
    fps: SecondsIfAny = None
    num_frame: SecondsIfAny = None


class _Video(Fields):
    info: _Info


class _Question(Fields):
    question: Text
    answer: TextIfAny = None
    time: SecondsIfAny = None


class MovieChat(AnnotationSource):
    """MovieChat-1K; arguments as of `AnnotationSource`. Groups: ``mode``, and ``class`` where the file has it."""

    dataset = "moviechat"

    def rows(self, manifest: Manifest) -> list[Row]:
        """A row a question."""
        files = sorted(self.annotations.glob("*.json")) if self.annotations.is_dir() else [self.annotations]
        if not files:
            raise FileError(f"{self.annotations} is a folder without any .json file")
        rows: list[Row] = []
        for file in files:
            content = read_json(file, "annotations")
            videos = content if isinstance(content, list) else [content]
            found = list(
                self._questions_of([Row(file, f"video {n}", n, v) for n, v in enumerate(videos, 1)], len(rows))
            )
            self.note_file(manifest, file, len(found))
            rows += found
        return rows

    @staticmethod
    def _questions_of(videos: list[Row], first: int) -> Iterator[Row]:
        number = first
        for video in videos:
            if not isinstance(video.content, dict) or not any(isinstance(video.content.get(m), list) for m in MODES):
                raise RowError(video, "", None, "a video with `info`, and `global` or `breakpoint` questions")
            for mode in MODES:
                for n, content in enumerate(video.content.get(mode) or [], 1):
                    yield video.part(f"{mode} question {n}", number, content)
                    number += 1

    def read_row(self, row: Row, manifest: Manifest) -> VideoQuestion | None:
        assert row.whole is not None
        info, fields = read(_Video, row.whole).info, read(_Question, row)
        mode = next(mode for mode in MODES if f", {mode} question " in row.place)
        groups: dict[str, str | tuple[str, ...]] = {"mode": mode}
        kind = row.whole.content["info"].get("class")
        if isinstance(kind, str) and kind:
            groups["class"] = kind
        until_s = None
        if mode == "breakpoint":
            if fields.time is None or not info.fps:
                raise RowError(row, "time", fields.time, "the frame at which it is asked, and the video's `fps`")
            until_s = fields.time / info.fps
        name = Path(info.video_path).name
        if fields.answer is None:
            manifest.repairs["no answer is given; kept without a reference"] += 1
        with row.reading("", None):
            return VideoQuestion(
                dataset=self.dataset,
                split=self.split,
                sample_id=f"{Path(name).stem}-{mode}-{row.place.rsplit(' ', 1)[-1]}",
                video=self.locate(row.whole, "info.video_path", info.video_path, name),
                duration_s=info.num_frame / info.fps if info.num_frame and info.fps else 0.0,
                question=fields.question,
                groups=groups,
                references=() if fields.answer is None else (fields.answer,),
                until_s=until_s,
            )
