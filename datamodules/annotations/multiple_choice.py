"""A person's own questions: one table (JSON, JSON lines, CSV, TSV, Parquet) of multiple choice and open questions.

``video, question, options, answer`` make a row; an open question has ``references`` in the place of options and answer.
``docs/your_own_data.md`` has every column.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from datamodules.annotations.annotation_files import inside
from datamodules.annotations.base import Manifest
from datamodules.annotations.choices import choices_of
from datamodules.annotations.evidence_spans import Spans, within
from datamodules.annotations.own_answers import Answers, own_answer
from datamodules.annotations.own_columns import OwnColumns, OwnRow, is_numbered_option, option_columns
from datamodules.annotations.own_table import OwnTable, table_folder
from datamodules.annotations.own_values import (
    evidence_spans,
    group_labels,
    listed_texts,
    reference_texts,
    span_between,
)
from datamodules.annotations.subtitles import Subtitle, read_subtitles
from datamodules.annotations.video_split import Shares
from modules.files.paths import InputPath
from modules.files.rows import Row, RowError, read
from modules.records import VideoQuestion


class MultipleChoice(OwnTable):
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
        super().__init__(annotations=annotations, videos=table_folder(annotations, videos), split=split, limit=limit)
        self.take(name, OwnColumns(columns or {}, OwnRow, more=is_numbered_option), split_shares, split_seed)
        if not separator:
            raise ValueError(f"separator={separator!r}: may not be empty")
        self.answers, self.separator = answers, separator
        self.subtitles = self.videos if subtitles is None else Path(subtitles)

    def read_row(self, row: Row, manifest: Manifest) -> VideoQuestion | None:
        self.columns.refuse_slips(row)
        fields = read(OwnRow, row)
        self.refuse_split(row, fields.split)
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
