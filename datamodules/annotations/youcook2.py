"""YouCook2: ``youcookii_annotations_trainval.json`` as published, or a table with a row a stretch, as repacked.

Each stretch (``segment``, in seconds) of a cooking video has one sentence. The published subsets are training,
validation and testing, the last without sentences; numbers in papers are of validation. Videos lie below their subset
and recipe type (``training/226/ID.mp4``), below their subset, or beside one another.
"""

from __future__ import annotations

from typing import Any

from datamodules.annotations.base import Manifest
from datamodules.annotations.caption_source import CaptionsIfAny, CaptionSource, Span, is_json_object, stretch_id
from modules.files.row_files import read_json, rows_of
from modules.files.rows import Fields, FileError, LabelIfAny, Row, RowError, SecondsIfAny, Text, TextIfAny, read
from modules.records import VideoQuestion


class _Video(Fields):
    subset: Text
    duration: SecondsIfAny = None
    recipe_type: LabelIfAny = None


class _Segment(Fields):
    segment: Span
    sentence: CaptionsIfAny = ()
    id: LabelIfAny = None


class _Listed(_Segment):
    youtube_id: Text
    recipe_type: LabelIfAny = None
    video_path: TextIfAny = None


class YouCook2(CaptionSource):
    """YouCook2; group ``recipe``, its number; arguments as of `CaptionSource`."""

    dataset = "youcook2"
    published = {"train": (10337, 1333), "val": (3492, 457)}

    def rows(self, manifest: Manifest) -> list[Row]:
        """A row a stretch of a video of this split; with the video's own as its whole."""
        is_published = is_json_object(self.annotations)
        rows = self._segments(read_json(self.annotations, "annotations")) if is_published else rows_of(self.annotations)
        self.note_file(manifest, self.annotations, len(rows))
        return rows

    def _segments(self, content: dict[str, Any]) -> list[Row]:
        videos = content.get("database")
        if not isinstance(videos, dict):
            raise FileError(f"annotations {self.annotations} cannot be read: the object `database` was expected")
        rows = list[Row]()
        for name, found in videos.items():
            video = Row(self.annotations, f"video {name!r:.80}", len(rows), found)
            try:
                if not self.is_of_split(read(_Video, video).subset):
                    continue
                segments = found.get("annotations")
                if not isinstance(segments, list):
                    raise RowError(video, "annotations", segments, "a list of segments")
            except RowError:
                rows.append(video)
                continue
            whole = Row(self.annotations, video.place, video.number, {**found, "name": name})
            rows += [whole.part(f"segment {n}", len(rows) + n, segment) for n, segment in enumerate(segments, 1)]
        if not rows:
            raise FileError(f"annotations {self.annotations}: no video is of split {self.split!r}")
        return rows

    def read_row(self, row: Row, manifest: Manifest) -> VideoQuestion:
        if row.place.startswith("row "):
            listed = read(_Listed, row)
            names = [name for name in (listed.video_path, listed.youtube_id) if name]
            field = "video_path" if listed.video_path else "youtube_id"
            return self._of(row, listed.youtube_id, listed, names, field, None, listed.recipe_type, manifest)
        if row.whole is None:
            read(_Video, row)
            raise RowError(row, "annotations", row.content.get("annotations"), "a list of segments")
        about, name = read(_Video, row.whole), row.whole.content["name"]
        names = [name, f"{about.subset}/{about.recipe_type}/{name}", f"{about.subset}/{name}"]
        segment = read(_Segment, row)
        return self._of(row, name, segment, names, "video", about.duration, about.recipe_type, manifest)

    def _of(
        self,
        row: Row,
        name: str,
        segment: _Segment,
        names: list[str],
        field: str,
        duration_s: float | None,
        recipe: str | None,
        manifest: Manifest,
    ) -> VideoQuestion:
        row_id = stretch_id(name, segment.segment) if segment.id is None else f"{name}_{segment.id}"
        return self.captioned(
            row,
            row_id,
            manifest,
            segment.sentence,
            segment.segment,
            video=self.locate(row, field, *names),
            duration_s=duration_s or 0.0,
            groups={} if recipe is None else {"recipe": recipe},
        )
