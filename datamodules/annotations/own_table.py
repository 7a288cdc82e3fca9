"""A person's own table: which of its rows belong to a split, under which names its columns are read."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from datamodules.annotations.annotation_files import name_below, video_file
from datamodules.annotations.base import AnnotationSource, Manifest
from datamodules.annotations.own_columns import OwnColumns
from datamodules.annotations.video_split import SPLITS, Shares, refuse_shares, split_of_videos
from modules.files.row_files import rows_of
from modules.files.rows import FileError, Row, RowError

_log = logging.getLogger(__name__)
_log.setLevel(logging.INFO)  # which rows a split has is worth a line at every start


class OwnTable(AnnotationSource):
    """A source that is one table of one's own; arguments as of its subclasses.

    The rows of a split are those whose column ``split`` says so; where there is no such column, those of the videos
    that are dealt out to it by ``split_shares``, or the whole file.
    """

    columns: OwnColumns
    split_shares: Shares | None
    split_seed: int
    _by_column = False

    def take(self, name: str, columns: OwnColumns, split_shares: Shares | None, split_seed: int) -> None:
        """Sets what all tables have in common.

        Raises:
            ValueError: the name is empty, or the shares are none.
        """
        if not name.strip():
            raise ValueError(f"name={name!r}: may not be empty")
        if split_shares is not None:
            refuse_shares(split_shares)
        self.dataset, self.columns = name, columns
        self.split_shares, self.split_seed = split_shares, split_seed

    def file_rows(self) -> Sequence[Row]:
        """All rows of the file."""
        return rows_of(self.annotations)

    def rows(self, manifest: Manifest) -> list[Row]:
        """The rows of this split, with their columns under our names; says how many there are, and of how many."""
        rows = [self.columns.under_our_names(row) for row in self.file_rows()]
        self._by_column = any(told_split(row) for row in rows)
        splits, how = self._splits(rows)
        own = [row for row, split in zip(rows, splits, strict=True) if split in (None, self.split)]
        if not own:
            others = ", ".join(sorted({split for split in splits if split}))
            raise FileError(f"annotations {self.annotations}: no row of split {self.split!r}; there are {others}")
        self.note_file(manifest, self.annotations, len(own))
        num_videos = len({self._video_name(row) for row in own})
        foreign = sorted({name for row in own for name in self.columns.unread(row)})
        _log.info(
            "%s/%s: %d of %d rows of %s, videos: %d (%s)%s",
            *(self.dataset, self.split, len(own), len(rows), self.annotations, num_videos, how),
            f"; columns that are not read: {', '.join(foreign)}" if foreign else "",
        )
        return own

    def refuse_split(self, row: Row, told: str | None) -> None:
        """Holds what a row's column ``split`` says against what it may say, where there is such a column.

        Raises:
            RowError: it says something else.
        """
        if self._by_column and told not in (*SPLITS, self.split):
            raise RowError(row, "split", told, f"one of {', '.join(SPLITS)}")

    def locate(self, row: Row, field: str, *names: str) -> str:
        """As `AnnotationSource.locate`; says which key names another folder."""
        try:
            return video_file(self.videos, *names)
        except ValueError as error:
            raise RowError(row, field, names[0], f"{error} (the key `videos` names another folder)") from error

    def _splits(self, rows: list[Row]) -> tuple[list[str | None], str]:
        """The split of each row, and how it was found; None where the row has to be looked at to be refused."""
        if self._by_column:
            told = [told_split(row) for row in rows]
            return [split if split in (*SPLITS, self.split) else None for split in told], "by the column split"
        if self.split_shares is None:
            return [None] * len(rows), "the whole file"
        names = [self._video_name(row) for row in rows]
        if not any(names):
            return [None] * len(rows), "none of them names a video"
        try:
            of = split_of_videos([name for name in names if name], self.split_shares, self.split_seed)
        except ValueError as error:
            raise FileError(f"annotations {self.annotations}: {error}; a column split says it row by row") from error
        shares = ", ".join(f"{split} {share:g}" for split, share in zip(SPLITS, self.split_shares, strict=True))
        return [of[name] if name else None for name in names], f"videos dealt out: {shares}"

    def _video_name(self, row: Row) -> str | None:
        """A row's video by its name below the folder; None where it names none that may be read."""
        name = row.content.get("video") if isinstance(row.content, dict) else None
        try:
            return name_below(self.videos, video_file(self.videos, name)) if isinstance(name, str) else None
        except ValueError:
            return None


def table_folder(annotations: str, videos: str | None) -> str:
    """The folder of the videos: the one of the table, where no other is named."""
    return str(Path(annotations).parent) if videos is None else videos


def told_split(row: Row) -> str | None:
    """What a row's column ``split`` says; None where it is blank or not there."""
    told = row.content.get("split") if isinstance(row.content, dict) else None
    return told.strip() or None if isinstance(told, str) else None
