"""MSVD (YouTube2Text): ``video_corpus.csv``, ``AllVideoDescriptions.txt``, or a list of clips with their captions.

A clip is a file ``VIDEO_START_END.avi``, cut already. The published files know no splits; captioning papers take the
clips of ``youtube_mapping.txt`` in its order: 1 to 1 200, 1 201 to 1 300 and 1 301 to 1 970. ``clips`` names that file,
or a list of the clips of this split, a line each.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from datamodules.annotations.base import Manifest
from datamodules.annotations.caption_source import DESCRIBE, Captions, CaptionSource
from modules.files.paths import InputPath
from modules.files.row_files import rows_of
from modules.files.rows import Fields, FileError, Label, Row, Said, Text, TextIfAny, Unreadable, Whole, read
from modules.records import VideoQuestion

_LAST = {"train": 1200, "val": 1300, "test": 1970}
_NUMBERED = re.compile(r"(\S+)\s+vid(\d{1,6})")


class _Described(Fields):
    VideoID: Text
    Start: Whole
    End: Whole
    Language: Label
    Description: Said


class _Listed(Fields):
    video_id: Label
    caption: Captions
    video: TextIfAny = None


class MSVD(CaptionSource):
    """MSVD; arguments as of `CaptionSource`, and:

    Args:
        annotations, videos, split, limit, instruction: see `CaptionSource`.
        clips: ``youtube_mapping.txt``, or a list of clips; None takes the whole file for this split.
        language: of ``video_corpus.csv``, which has descriptions in many.
    """

    dataset = "msvd"
    published = {"train": (1200, 1200), "val": (100, 100), "test": (670, 670)}

    def __init__(
        self,
        *,
        annotations: InputPath,
        videos: InputPath,
        split: str = "test",
        limit: int | None = None,
        instruction: str = DESCRIBE,
        clips: InputPath | None = None,
        language: str = "English",
    ) -> None:
        super().__init__(annotations=annotations, videos=videos, split=split, limit=limit, instruction=instruction)
        self.clips, self.language = None if clips is None else Path(clips), language

    def rows(self, manifest: Manifest) -> list[Row]:
        """A row a description of a clip of this split."""
        rows = list(self._lines()) if self.annotations.suffix == ".txt" else rows_of(self.annotations)
        if self.clips is not None:
            ours = self._clip_names(self.clips)
            rows = [row for row in rows if (name := _clip_of(row)) is None or name in ours]
            self.note_file(manifest, self.clips, 0)
        if not rows:
            raise FileError(f"annotations {self.annotations}: no row is about a clip of split {self.split!r}")
        self.note_file(manifest, self.annotations, len(rows))
        return rows

    def read_row(self, row: Row, manifest: Manifest) -> VideoQuestion | None:
        if isinstance(row.content, dict) and "Description" not in row.content:
            listed = read(_Listed, row)
            name, field = listed.video or listed.video_id, "video" if listed.video else "video_id"
            return self.captioned(row, listed.video_id, manifest, listed.caption, video=self.locate(row, field, name))
        fields = read(_Described, row)
        name = f"{fields.VideoID}_{fields.Start}_{fields.End}"
        if fields.Language != self.language:
            manifest.drop(f"in another language than {self.language}", name)
            return None
        if not fields.Description.strip():
            manifest.drop("a description without a word (some are published so)", name)
            return None
        return self.captioned(
            row, name, manifest, (fields.Description.strip(),), video=self.locate(row, "VideoID", name)
        )

    def _lines(self) -> Iterator[Row]:
        """``CLIP DESCRIPTION``, a line each; the first lines, which begin with #, are about the file."""
        for n, line in enumerate(_text_of(self.annotations, "annotations").split("\n")):
            if not line.strip() or line.startswith("#"):
                continue
            name, _, said = line.strip().partition(" ")
            found = re.fullmatch(r"(.+)_(\d{1,9})_(\d{1,9})", name)
            content: object = Unreadable("a clip `VIDEO_START_END` and its description were expected")
            if found is not None:
                content = dict(zip(("VideoID", "Start", "End"), found.groups(), strict=True))
                content |= {"Language": self.language, "Description": said}
            yield Row(self.annotations, f"line {n + 1}", n, content)

    def _clip_names(self, path: Path) -> set[str]:
        lines = [line.strip() for line in _text_of(path, "clips").split("\n") if line.strip()]
        numbered = [_NUMBERED.fullmatch(line) for line in lines]
        if not any(numbered):
            return {re.sub(r"\.(avi|mp4|mkv|webm)$", "", line) for line in lines}
        if self.split not in _LAST:
            raise FileError(f"clips {path} knows the splits {', '.join(_LAST)}, and not {self.split!r}")
        first = {"train": 1, "val": _LAST["train"] + 1, "test": _LAST["val"] + 1}[self.split]
        return {match[1] for match in numbered if match and first <= int(match[2]) <= _LAST[self.split]}


def _clip_of(row: Row) -> str | None:
    """The clip that a row is about; None where the row has to be looked at to be refused."""
    content = row.content if isinstance(row.content, dict) else {}
    if "VideoID" in content:
        return f"{content['VideoID']}_{content.get('Start')}_{content.get('End')}"
    name = content.get("video_id")
    return name if isinstance(name, str) else None


def _text_of(path: Path, what: str) -> str:
    if not path.is_file():
        raise FileError(f"{what} {path}: no such file")
    try:
        return path.read_text(encoding="utf-8-sig")
    except (ValueError, OSError) as error:
        raise FileError(f"{what} {path} cannot be read: {error}") from error
