"""Annotation files become `VideoQuestion`s, with a manifest that accounts for every row."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from datamodules.annotations.annotation_files import video_file
from datamodules.annotations.choices import Choices, plain
from datamodules.annotations.tables import sha256
from modules.files.paths import InputPath
from modules.files.row_files import rows_of
from modules.files.rows import Row, RowError
from modules.records import VideoQuestion

_log = logging.getLogger(__name__)
OnBadRow = Literal["raise", "skip"]
_HINT = ". `on_bad_row: skip` (a key of data) leaves such rows out and counts them"


@dataclass
class Manifest:
    """What a source holds, and what became of each row."""

    dataset: str
    split: str
    files: dict[str, str] = field(default_factory=dict)
    """SHA-256 of each annotation file."""
    num_rows: int = 0
    num_joined: int = 0
    """Rows that say more of a question that an earlier row has."""
    num_questions: int = 0
    num_videos: int = 0
    num_unanswered: int = 0
    """Questions without an answer to hold one against."""
    groups: dict[str, dict[str, int]] = field(default_factory=dict)
    """Questions of each label of each group."""
    dropped: dict[str, list[str]] = field(default_factory=dict)
    """Reason -> the rows it kept out."""
    repairs: Counter[str] = field(default_factory=Counter)
    """What was put right, and how often."""
    unexpected: list[str] = field(default_factory=list)
    """Counts that differ from the published ones."""
    notes: list[str] = field(default_factory=list)
    """What whoever uses it should know."""

    @property
    def num_dropped(self) -> int:
        return sum(map(len, self.dropped.values()))

    def drop(self, reason: str, row: str) -> None:
        """Notes a row that becomes no question."""
        self.dropped.setdefault(reason, []).append(row)

    def count(self, questions: list[VideoQuestion], published: tuple[int, int] | None) -> None:
        """Counts what has been read, and notes where that differs from (questions, videos) as published."""
        self.num_questions, self.num_videos = len(questions), len({q.video for q in questions})
        self.num_unanswered = sum(q.answer is None for q in questions)
        for q in questions:
            for group, labels in q.groups.items():
                counts = self.groups.setdefault(group, {})
                for label in (labels,) if isinstance(labels, str) else labels:
                    counts[label] = counts.get(label, 0) + 1
        if published is not None and published != (self.num_questions, self.num_videos):
            self.unexpected.append(
                f"{self.num_questions} questions on {self.num_videos} videos; "
                f"published: {published[0]} on {published[1]}"
            )

    def say(self) -> None:
        """Says once what was left out, by reason, and how many questions have no answer."""
        name = f"{self.dataset}/{self.split}"
        if self.dropped:
            reasons = "; ".join(f"{len(rows)}: {reason} (e.g. {rows[0]})" for reason, rows in self.dropped.items())
            _log.warning("%s: %d of %d rows are left out: %s", name, self.num_dropped, self.num_rows, reasons)
        if self.num_unanswered:
            _log.warning("%s: %d of %d questions have no answer", name, self.num_unanswered, self.num_questions)


@dataclass(frozen=True)
class Annotations:
    """Questions with their manifest."""

    questions: list[VideoQuestion]
    manifest: Manifest


class AnnotationSource(ABC):
    """One data set in one of its published layouts.

    Args:
        annotations: file or folder, as published.
        videos: folder of the videos; rows that name a file outside of it are refused.
        split: name given to the questions.
        limit: only the first so many questions, to try things out.
    """

    dataset: str
    published: dict[str, tuple[int, int]] = {}
    """Split -> (questions, videos) as published, for the manifest's check."""

    def __init__(
        self, *, annotations: InputPath, videos: InputPath, split: str = "test", limit: int | None = None
    ) -> None:
        self.annotations, self.videos, self.split, self.limit = Path(annotations), Path(videos), split, limit

    @abstractmethod
    def read_row(self, row: Row, manifest: Manifest) -> VideoQuestion | None:
        """A row's question, or None with the reason noted.

        Raises:
            RowError: the row is not as its layout wants it.
        """

    def rows(self, manifest: Manifest) -> Iterable[Row]:
        """All rows, with their files noted."""
        rows = rows_of(self.annotations)
        self.note_file(manifest, self.annotations, len(rows))
        return rows

    def load(self, on_bad_row: OnBadRow = "raise") -> Annotations:
        """Reads everything, and says once what was left out.

        Args:
            on_bad_row: ``raise`` stops at the first row that is not as its layout wants it; ``skip`` leaves it out.

        Raises:
            FileError: a file is missing, broken or of another layout; under ``raise``, a row is refused or an id occurs
                twice.
        """
        manifest = Manifest(self.dataset, self.split)
        questions = list(self._questions(manifest, on_bad_row))
        manifest.count(questions, self.published.get(self.split))
        manifest.say()
        return Annotations(questions[: self.limit], manifest)

    def _questions(self, manifest: Manifest, on_bad_row: OnBadRow) -> Iterator[VideoQuestion]:
        first: dict[str, tuple[VideoQuestion, str]] = {}
        for row in self.rows(manifest):
            repairs = manifest.repairs.copy()
            try:
                question = self.read_row(row, manifest)
                if question is None:
                    continue
                if question.sample_id in first:
                    self.join(row, first[question.sample_id][0], question, first[question.sample_id][1])
                    manifest.num_joined += 1
                    continue
                first[question.sample_id] = question, f"{row.file.name}, {row.place}"
            except RowError as error:
                if on_bad_row == "raise":
                    error.hint = _HINT
                    raise
                manifest.repairs = repairs
                manifest.drop(error.kind, error.place)
                continue
            yield question

    def join(self, row: Row, first: VideoQuestion, question: VideoQuestion, there: str) -> None:
        """Takes a question whose id an earlier one has.

        Args:
            row: that it stands in.
            first: the earlier one.
            question: the later one.
            there: where the earlier one stands.

        Raises:
            RowError: ids occur once, as they do where a source does not say otherwise.
        """
        raise RowError(row, "id", question.sample_id, f"an id that occurs once, and {there} has it")

    def note_file(self, manifest: Manifest, path: Path, num_rows: int) -> None:
        """Adds a file to the manifest."""
        manifest.files[str(path)] = sha256(path)
        manifest.num_rows += num_rows

    def locate(self, row: Row, field: str, *names: str) -> str:
        """The video file of one of these names of a row's field; see `video_file`."""
        with row.reading(field, names[0]):
            return video_file(self.videos, *names)

    def question(
        self, row: Row, row_id: str, manifest: Manifest, choices: Choices, **fields: Any
    ) -> VideoQuestion | None:
        """A question, or None with the reason noted."""
        if len(choices.texts) < 2:
            manifest.drop("fewer than two options", row_id)
            return None
        if not fields["question"].strip():
            manifest.drop("no question text", row_id)
            return None
        if len(set(map(plain, choices.texts))) < len(choices.texts):
            manifest.repairs["two options have the same text; both are kept"] += 1
        if fields["answer_index"] is None:
            manifest.repairs["no answer is given, or none of the options; kept without an answer"] += 1
        with row.reading("", None):
            return VideoQuestion(
                dataset=self.dataset,
                split=self.split,
                sample_id=row_id,
                options=choices.texts,
                **{"duration_s": 0.0, **fields},
            )


class TrainingSource(AnnotationSource):
    """A source whose questions are to be trained on.

    Args:
        annotations, videos, split, limit: see `AnnotationSource`.
    """

    def __init__(
        self, *, annotations: InputPath, videos: InputPath, split: str = "train", limit: int | None = None
    ) -> None:
        super().__init__(annotations=annotations, videos=videos, split=split, limit=limit)


class SubtitledTable(AnnotationSource):
    """A source that is one table, whose videos may have subtitles beside them.

    Args:
        annotations, videos, split, limit: see `AnnotationSource`.
        subtitles: folder of the subtitles; None leaves them out.
    """

    def __init__(
        self,
        *,
        annotations: InputPath,
        videos: InputPath,
        split: str = "test",
        limit: int | None = None,
        subtitles: InputPath | None = None,
    ) -> None:
        super().__init__(annotations=annotations, videos=videos, split=split, limit=limit)
        self.subtitles = None if subtitles is None else Path(subtitles)
