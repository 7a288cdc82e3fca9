"""MSR-VTT: ``train_val_videodatainfo.json`` and ``test_videodatainfo.json`` as published (videos, and sentences about
them), or a list of videos with their captions, as repacked.

The published files call the splits train, validate and test: 6 513, 497 and 2 990 clips, 20 captions each. Repacks cut
them otherwise ("train 9k", "test 1k", for retrieval); those numbers cannot be compared with captioning papers'. The
clips are cut already (``video0.mp4``): ``start time`` and ``end time`` are of the video that they were cut from.
"""

from __future__ import annotations

from typing import Any

from datamodules.annotations.base import Manifest
from datamodules.annotations.caption_source import Captions, CaptionSource, is_json_object
from modules.files.row_files import read_json, rows_of
from modules.files.rows import Fields, FileError, Label, LabelIfAny, Row, RowError, Text, TextIfAny, read
from modules.records import VideoQuestion

CATEGORIES = (
    *("music", "people", "gaming", "sports", "news", "education", "tv shows", "movie", "animation", "vehicles"),
    *("howto", "travel", "science", "animals", "kids", "documentary", "food", "cooking", "beauty", "advertisement"),
)
"""By number, as ``category.txt`` of the data set has them."""


class _Video(Fields):
    video_id: Text
    split: Text
    category: LabelIfAny = None


class _Sentence(Fields):
    video_id: Text
    caption: Captions


class _Listed(Fields):
    video_id: Label
    caption: Captions
    video: TextIfAny = None
    category: LabelIfAny = None


class MSRVTT(CaptionSource):
    """MSR-VTT; group ``category``; arguments as of `CaptionSource`."""

    dataset = "msrvtt"
    published = {"train": (6513, 6513), "val": (497, 497), "test": (2990, 2990)}

    def rows(self, manifest: Manifest) -> list[Row]:
        """A row a sentence about a video of this split; with the video's own as its whole."""
        is_published = is_json_object(self.annotations)
        rows = (
            self._sentences(read_json(self.annotations, "annotations")) if is_published else rows_of(self.annotations)
        )
        self.note_file(manifest, self.annotations, len(rows))
        return rows

    def _sentences(self, content: dict[str, Any]) -> list[Row]:
        file, videos, sentences = self.annotations, content.get("videos"), content.get("sentences")
        if not isinstance(videos, list) or not isinstance(sentences, list):
            raise FileError(f"annotations {file} cannot be read: the lists `videos` and `sentences` were expected")
        bad, known = list[Row](), dict[str, tuple[Row, bool]]()
        for n, found in enumerate(videos):
            row = Row(file, f"video {n + 1}", n, found)
            try:
                fields = read(_Video, row)
                known[fields.video_id] = row, self.is_of_split(fields.split)
            except RowError:
                bad.append(row)
        rows = list[Row]()
        for n, found in enumerate(sentences):
            name = found.get("video_id") if isinstance(found, dict) else None
            video, is_ours = known.get(name, (None, True)) if isinstance(name, str) else (None, True)
            if is_ours:
                rows.append(Row(file, f"sentence {n + 1}", len(rows), found, video))
        if not rows:
            raise FileError(f"annotations {file}: no sentence is about a video of split {self.split!r}")
        return bad + rows

    def read_row(self, row: Row, manifest: Manifest) -> VideoQuestion:
        if row.place.startswith("row "):
            listed = read(_Listed, row)
            name, field = listed.video or listed.video_id, "video" if listed.video else "video_id"
            video = self.locate(row, field, name)
            return self._of(row, listed.video_id, video, listed.caption, listed.category, manifest)
        if row.place.startswith("video "):
            read(_Video, row)  # refuses it
        sentence = read(_Sentence, row)
        if row.whole is None:
            raise RowError(row, "video_id", sentence.video_id, "a video of the list `videos`")
        about = read(_Video, row.whole)
        video = self.locate(row, "video_id", about.video_id)
        return self._of(row, about.video_id, video, sentence.caption, about.category, manifest)

    def _of(
        self, row: Row, row_id: str, video: str, captions: tuple[str, ...], category: str | None, manifest: Manifest
    ) -> VideoQuestion:
        number = int(category) if category is not None and category.isascii() and category.isdigit() else -1
        label = CATEGORIES[number] if 0 <= number < len(CATEGORIES) else category
        groups = {} if label is None else {"category": label}
        return self.captioned(row, row_id, manifest, captions, video=video, groups=groups)
