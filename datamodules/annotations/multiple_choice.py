"""A person's own questions: one table (JSON, JSON lines, CSV, TSV, Parquet) of multiple choice and open questions.

``video, question, options, answer`` make a row; an open question has ``references`` in the place of options and answer.
``docs/your_own_data.md`` has every column.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from datamodules.annotations.annotation_files import inside, name_below, video_file
from datamodules.annotations.base import AnnotationSource, Manifest
from datamodules.annotations.choices import choices_of
from datamodules.annotations.evidence_spans import Spans, within
from datamodules.annotations.own_answers import Answers, own_answer
from datamodules.annotations.own_columns import OwnColumns, OwnRow, is_numbered_option, option_columns, unread
from datamodules.annotations.own_values import (
    evidence_spans,
    group_labels,
    listed_texts,
    reference_texts,
    span_between,
)
from datamodules.annotations.subtitles import Subtitle, read_subtitles
from datamodules.annotations.video_split import SPLITS, Shares, refuse_shares, split_of_videos
from modules.files.paths import InputPath
from modules.files.row_files import rows_of
from modules.files.rows import FileError, Row, RowError, read
from modules.records import VideoQuestion

_log = logging.getLogger(__name__)
_log.setLevel(logging.INFO)  # which rows a split has is worth a line at every start


class MultipleChoice(AnnotationSource):
    """Questions of one's own.

    Args:
        annotations: the file, ending in .json, .jsonl, .csv, .tsv or .parquet.
        videos: folder of the videos; the one of ``annotations`` where it is left out.
        split: which questions: those whose column ``split`` says so, or see ``split_shares``.
        limit: see `AnnotationSource`.
        name: of the data set, as tables, cards and files show it.
        subtitles: folder of the subtitles; by default that of the videos.
        columns: what the file calls a column, where it is called something else: ``{question: prompt}``.
        answers: how the answers are written; ``any`` is a letter or an option's text, and refuses what could be both.
        separator: between options, or references, that are written as one text.
        split_shares: of train, val and test, for a file without a column ``split``: the videos are dealt out, and all
            questions on one go together. Left out, the whole file belongs to ``split``.
        split_seed: another one deals the videos out otherwise.
    """

    def __init__(
        self,
        *,
        annotations: InputPath,
        videos: InputPath | None = None,
        split: str = "test",
        limit: int | None = None,
        name: str = "mine",
        subtitles: InputPath | None = None,
        columns: dict[str, str] | None = None,
        answers: Answers = "any",
        separator: str = "|",
        split_shares: Shares | None = None,
        split_seed: int = 0,
    ) -> None:
        folder = str(Path(annotations).parent) if videos is None else videos
        super().__init__(annotations=annotations, videos=folder, split=split, limit=limit)
        if not name.strip() or not separator:
            raise ValueError(f"name={name!r}, separator={separator!r}: neither may be empty")
        if split_shares is not None:
            refuse_shares(split_shares)
        self.dataset, self.answers, self.separator = name, answers, separator
        self.subtitles = self.videos if subtitles is None else Path(subtitles)
        self.columns = OwnColumns(columns or {})
        self.split_shares, self.split_seed = split_shares, split_seed

    # ---- which rows ----

    def rows(self, manifest: Manifest) -> list[Row]:
        """The rows of this split, with their columns under our names; says how many there are, and of how many."""
        rows = [self.columns.under_our_names(row) for row in rows_of(self.annotations)]
        self._by_column = any(_told_split(row) for row in rows)
        splits, how = self._splits(rows)
        own = [row for row, split in zip(rows, splits, strict=True) if split in (None, self.split)]
        if not own:
            others = ", ".join(sorted({split for split in splits if split}))
            raise FileError(f"annotations {self.annotations}: no row of split {self.split!r}; there are {others}")
        self.note_file(manifest, self.annotations, len(own))
        num_videos, foreign = (
            len({self._video_name(row) for row in own}),
            sorted({n for row in own for n in unread(row)}),
        )
        _log.info(
            "%s/%s: %d of %d rows of %s, videos: %d (%s)%s",
            *(self.dataset, self.split, len(own), len(rows), self.annotations, num_videos, how),
            f"; columns that are not read: {', '.join(foreign)}" if foreign else "",
        )
        return own

    def _splits(self, rows: list[Row]) -> tuple[list[str | None], str]:
        """The split of each row, and how it was found; None where the row has to be looked at to be refused."""
        if self._by_column:
            told = [_told_split(row) for row in rows]
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

    # ---- a row ----

    def read_row(self, row: Row, manifest: Manifest) -> VideoQuestion | None:
        self.columns.refuse_slips(row)
        fields = read(OwnRow, row)
        if self._by_column and fields.split not in (*SPLITS, self.split):
            raise RowError(row, "split", fields.split, f"one of {', '.join(SPLITS)}")
        about = self._about(row, fields, manifest)
        listed = self._options(row, fields)
        with row.reading("references", fields.references):
            references = reference_texts(fields.references, self.separator)
        if listed and references:
            raise RowError(row, "", None, "there are options and references; a question is multiple choice or open")
        if not listed and not references:
            raise RowError(row, "", None, "there are no options, and no references that would make it an open question")
        row_id = fields.id or str(row.number + 1)
        if references:
            return self._open(row, row_id, fields.answer, references, about)
        return self._multiple_choice(row, row_id, fields.answer, listed, manifest, about)

    def _about(self, row: Row, fields: OwnRow, manifest: Manifest) -> dict[str, Any]:
        """What multiple choice and open questions have in common."""
        duration_s = fields.duration or 0.0
        with row.reading("groups", fields.groups):
            groups = group_labels(row.content)
        return {
            "video": self.locate(row, "video", fields.video),
            "question": fields.question,
            "duration_s": duration_s,
            "evidence_s": self._evidence(row, fields, duration_s, manifest),
            "groups": groups,
            "subtitles": self._subtitles(row, fields.subtitles),
        }

    def locate(self, row: Row, field: str, *names: str) -> str:
        """As `AnnotationSource.locate`; says which key names another folder."""
        try:
            return video_file(self.videos, *names)
        except ValueError as error:
            raise RowError(row, field, names[0], f"{error} (the key `videos` names another folder)") from error

    def _options(self, row: Row, fields: OwnRow) -> tuple[str | None, ...]:
        with row.reading("options", fields.options):
            listed = listed_texts(fields.options, self.separator)
        named = [name for name in row.content if is_numbered_option(name)]
        with row.reading("options", named):
            ordered = option_columns(named)
        cells = [row.content[name] for name in ordered]
        with row.reading(", ".join(ordered), cells):
            in_columns = listed_texts(cells, self.separator)
        if not any(cell is not None and cell.strip() for cell in in_columns):
            return listed
        if listed:
            raise RowError(row, "options", fields.options, f"nothing, beside {', '.join(ordered)}")
        return in_columns

    def _multiple_choice(
        self,
        row: Row,
        row_id: str,
        answer: Any,
        listed: tuple[str | None, ...],
        manifest: Manifest,
        about: dict[str, Any],
    ) -> VideoQuestion | None:
        choices = choices_of(listed)
        with row.reading("answer", answer):
            index = own_answer(answer, choices, self.answers, manifest.repairs)
        if index is None and self.split in ("train", "val"):
            manifest.drop("no answer", row_id)
            return None
        return self.question(row, row_id, manifest, choices, answer_index=index, **about)

    def _open(
        self, row: Row, row_id: str, answer: Any, references: tuple[str, ...], about: dict[str, Any]
    ) -> VideoQuestion:
        if answer is not None and answer != "":
            raise RowError(row, "answer", answer, "nothing beside references, which answer an open question")
        with row.reading("", None):
            return VideoQuestion(
                dataset=self.dataset, split=self.split, sample_id=row_id, references=references, **about
            )

    def _evidence(self, row: Row, fields: OwnRow, duration_s: float, manifest: Manifest) -> Spans:
        with row.reading("evidence", fields.evidence):
            spans = evidence_spans(fields.evidence)
        bounds = [fields.evidence_start, fields.evidence_end]
        with row.reading("evidence_start, evidence_end", bounds):
            spans += span_between(*bounds)
        with row.reading("evidence", spans):
            return within(spans, duration_s, manifest.repairs)

    def _subtitles(self, row: Row, name: str | None) -> tuple[Subtitle, ...]:
        if name is None:
            return ()
        with row.reading("subtitles", name):
            path = inside(self.subtitles, name)
            if not path.is_file():
                raise ValueError(f"a file that is there; {path} is not")
        return read_subtitles(path)


def _told_split(row: Row) -> str | None:
    """What a row's column ``split`` says; None where it is blank or not there."""
    told = row.content.get("split") if isinstance(row.content, dict) else None
    return told.strip() or None if isinstance(told, str) else None
