"""Annotation files become `VideoQuestion`s, with a manifest that accounts for every row."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datamodules.annotations.tables import read_rows, sha256
from modules.records import VideoQuestion

_VIDEO_SUFFIXES = ("", ".mp4", ".MP4", ".mkv", ".webm", ".avi", ".mov")


@dataclass
class Manifest:
    """What a source holds, and what became of each row."""

    dataset: str
    split: str
    files: dict[str, str] = field(default_factory=dict)
    """SHA-256 of each annotation file."""
    num_rows: int = 0
    num_questions: int = 0
    num_videos: int = 0
    groups: dict[str, dict[str, int]] = field(default_factory=dict)
    """Questions of each label of each group."""
    dropped: dict[str, list[str]] = field(default_factory=dict)
    """Reason -> the rows it kept out."""
    repairs: Counter[str] = field(default_factory=Counter)
    """What was put right, and how often."""
    unexpected: list[str] = field(default_factory=list)
    """Counts that differ from the published ones."""

    @property
    def num_dropped(self) -> int:
        return sum(map(len, self.dropped.values()))

    def drop(self, reason: str, row: str) -> None:
        """Notes a row that becomes no question."""
        self.dropped.setdefault(reason, []).append(row)


@dataclass(frozen=True)
class Annotations:
    """Questions with their manifest."""

    questions: list[VideoQuestion]
    manifest: Manifest


class AnnotationSource(ABC):
    """One data set in one of its published layouts.

    Args:
        annotations: file or folder, as published.
        videos: folder of the videos.
        split: name given to the questions.
        limit: only the first so many questions, to try things out.
    """

    dataset: str
    published: dict[str, tuple[int, int]] = {}
    """Split -> (questions, videos) as published, for the manifest's check."""

    def __init__(self, *, annotations: str, videos: str, split: str = "test", limit: int | None = None) -> None:
        self.annotations, self.videos, self.split, self.limit = Path(annotations), Path(videos), split, limit

    @abstractmethod
    def read(self, manifest: Manifest) -> Iterable[VideoQuestion]:
        """Questions of all rows; says to the manifest what rows were there and what became of those left out."""

    def load(self) -> Annotations:
        """Reads everything.

        Raises:
            ValueError: a file is missing, broken or of another layout, or an id occurs twice.
        """
        manifest = Manifest(self.dataset, self.split)
        try:
            questions = list(self.read(manifest))
        except KeyError as error:
            raise ValueError(
                f"annotations {self.annotations}: a row has no field {error}; docs/data.md lists the layouts of "
                f"{self.dataset}"
            ) from error
        ids = Counter(q.sample_id for q in questions)
        twice = [i for i, n in ids.items() if n > 1]
        if twice:
            raise ValueError(f"{self.dataset}: {len(twice)} ids occur more than once, e.g. {twice[:3]}")
        manifest.num_questions, manifest.num_videos = len(questions), len({q.video for q in questions})
        for q in questions:
            for group, labels in q.groups.items():
                counts = manifest.groups.setdefault(group, {})
                for label in (labels,) if isinstance(labels, str) else labels:
                    counts[label] = counts.get(label, 0) + 1
        expected = self.published.get(self.split)
        if expected is not None and expected != (manifest.num_questions, manifest.num_videos):
            manifest.unexpected.append(
                f"{manifest.num_questions} questions on {manifest.num_videos} videos; "
                f"published: {expected[0]} on {expected[1]}"
            )
        return Annotations(questions[: self.limit], manifest)

    def note_file(self, manifest: Manifest, path: Path, num_rows: int) -> None:
        """Adds a file to the manifest."""
        manifest.files[str(path)] = sha256(path)
        manifest.num_rows += num_rows

    def locate(self, *names: str) -> str:
        """The video file of one of these names, with any common suffix; the first's ``.mp4`` where none is there."""
        for name in names:
            for suffix in _VIDEO_SUFFIXES:
                path = self.videos / f"{name}{suffix}"
                if path.is_file():
                    return str(path)
        return str(self.videos / (names[0] if Path(names[0]).suffix else f"{names[0]}.mp4"))

    def question(self, row_id: str, manifest: Manifest, options: list[str], **fields: Any) -> VideoQuestion | None:
        """A question, or None with the reason noted."""
        if len(options) < 2:
            manifest.drop("fewer than two options", row_id)
            return None
        if not str(fields["question"]).strip():
            manifest.drop("no question text", row_id)
            return None
        return VideoQuestion(
            dataset=self.dataset, split=self.split, sample_id=row_id, options=tuple(options),
            **{"duration_s": 0.0, **fields},
        )  # fmt: skip


class TrainingSource(AnnotationSource):
    """A source whose questions are to be trained on.

    Args:
        annotations, videos, split, limit: see `AnnotationSource`.
    """

    def __init__(self, *, annotations: str, videos: str, split: str = "train", limit: int | None = None) -> None:
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
        annotations: str,
        videos: str,
        split: str = "test",
        limit: int | None = None,
        subtitles: str | None = None,
    ) -> None:
        super().__init__(annotations=annotations, videos=videos, split=split, limit=limit)
        self.subtitles = None if subtitles is None else Path(subtitles)

    @abstractmethod
    def read_row(self, row: dict[str, Any], manifest: Manifest) -> VideoQuestion | None:
        """A row's question, or None with the reason noted."""

    def read(self, manifest: Manifest) -> Iterator[VideoQuestion]:
        rows = read_rows(self.annotations)
        self.note_file(manifest, self.annotations, len(rows))
        for row in rows:
            question = self.read_row(row, manifest)
            if question is not None:
                yield question
