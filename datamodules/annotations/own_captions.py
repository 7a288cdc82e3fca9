"""A person's own captions: one file (JSON, JSON lines, CSV, TSV, Parquet) that says what is seen in which video.

``video, caption`` make a row, and rows on one video are captions of the same; or ``video, captions`` with a list. A
JSON object whose keys are videos and whose values are captions is read as well. ``docs/your_own_data.md`` has every
column.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from datamodules.annotations.base import Manifest
from datamodules.annotations.caption_source import DESCRIBE, CaptionSource, as_captions, is_json_object, stretch_id
from datamodules.annotations.own_columns import CaptionRow, OwnColumns
from datamodules.annotations.own_table import OwnTable, table_folder
from datamodules.annotations.own_values import group_labels, reference_texts, span_between
from datamodules.annotations.video_split import Shares
from modules.files.paths import InputPath
from modules.files.row_files import read_json
from modules.files.rows import Row, RowError, read
from modules.records import VideoQuestion


class OwnCaptions(OwnTable, CaptionSource):
    """Captions of one's own.

    Args:
        annotations: the file, ending in .json, .jsonl, .csv, .tsv or .parquet.
        videos: folder of the videos; the one of ``annotations`` where it is left out.
        split: which videos: those whose column ``split`` says so, or see ``split_shares``.
        limit: see `AnnotationSource`.
        instruction: that every video is captioned by.
        name: of the data set, as tables, cards and files show it.
        columns: what the file calls a column, where it is called something else: ``{caption: text}``.
        separator: between captions that are written as one text in the column ``captions``.
        split_shares: of train, val and test, for a file without a column ``split``: the videos are dealt out. Left out,
            the whole file belongs to ``split``.
        split_seed: another one deals the videos out otherwise.
    """

    def __init__(
        self,
        *,
        annotations: InputPath,
        videos: InputPath | None = None,
        split: str = "test",
        limit: int | None = None,
        instruction: str = DESCRIBE,
        name: str = "mine",
        columns: dict[str, str] | None = None,
        separator: str = "|",
        split_shares: Shares | None = None,
        split_seed: int = 0,
    ) -> None:
        super().__init__(
            annotations=annotations,
            videos=table_folder(annotations, videos),
            split=split,
            limit=limit,
            instruction=instruction,
        )
        if not separator:
            raise ValueError(f"separator={separator!r}: may not be empty")
        own = OwnColumns(columns or {}, CaptionRow, needed=("video", "caption|captions"))
        self.take(name, own, split_shares, split_seed)
        self.separator = separator

    def file_rows(self) -> Sequence[Row]:
        if is_json_object(self.annotations):
            content = read_json(self.annotations, "annotations")
            return [
                Row(self.annotations, f"video {name!r:.80}", n, {"video": name, "captions": value})
                for n, (name, value) in enumerate(content.items())
            ]
        return super().file_rows()

    def read_row(self, row: Row, manifest: Manifest) -> VideoQuestion:
        self.columns.refuse_slips(row)
        fields = read(CaptionRow, row)
        self.refuse_split(row, fields.split)
        video = self.locate(row, "video", fields.video)
        bounds = [fields.start, fields.end]
        with row.reading("start, end", bounds):
            span = next(iter(span_between(*bounds)), None)
            if span is not None and span[0] >= span[1]:
                raise ValueError("a start and an end behind it, in seconds")
        with row.reading("groups", fields.groups):
            groups = group_labels(row.content)
        return self.captioned(
            row,
            fields.id or stretch_id(fields.video, span),
            manifest,
            self._texts(row, fields),
            span,
            video=video,
            duration_s=fields.duration or 0.0,
            groups=groups,
        )

    def _texts(self, row: Row, fields: CaptionRow) -> tuple[str, ...]:
        """The captions of a row: a text as it stands, or several."""
        if _is_blank(fields.caption) == _is_blank(fields.captions):
            found = {"caption": fields.caption, "captions": fields.captions}
            raise RowError(row, "caption", found, "a caption that is not empty, or `captions` with a list of them")
        if not _is_blank(fields.caption):
            with row.reading("caption", fields.caption):
                return as_captions(fields.caption)
        with row.reading("captions", fields.captions):
            return reference_texts(fields.captions, self.separator)


def _is_blank(value: Any) -> bool:
    return value is None or value == [] or (isinstance(value, str) and not value.strip())
