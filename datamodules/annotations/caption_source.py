"""Captions as `VideoQuestion`s: open questions that all ask for a description, with the captions as references.

A record is one video, or one stretch of a video, with all its captions, however many rows they are written in.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import PlainValidator

from datamodules.annotations.base import AnnotationSource, Manifest, OnBadRow
from modules.files.paths import InputPath
from modules.files.rows import MAX_SECONDS, Row, RowError, as_number, as_text
from modules.records import VideoQuestion

DESCRIBE = "Describe the video."
"""What every clip is asked, where a recipe does not say otherwise."""
SPLIT_NAMES = {"train": ("train", "training"), "val": ("val", "validate", "validation"), "test": ("test", "testing")}
"""What published files call our splits."""


def as_captions(value: Any) -> tuple[str, ...]:
    """One caption, or a list of at least one.

    Raises:
        ValueError: it is something else, or one of them is empty.
    """
    if isinstance(value, list) and value:
        return tuple(as_text(caption).strip() for caption in value)
    if isinstance(value, str):
        return (as_text(value).strip(),)
    raise ValueError("a caption, or a list of captions, none of them empty")


def as_span(value: Any) -> tuple[float, float]:
    """[start, end] in seconds of the video.

    Raises:
        ValueError: it is something else, or has no length.
    """
    bounds = [as_number(bound) for bound in value] if isinstance(value, list) and len(value) == 2 else []
    if not bounds or not 0 <= bounds[0] < bounds[1] <= MAX_SECONDS:
        raise ValueError("[start, end] in seconds, finite, 0 or more, the end behind the start")
    return bounds[0], bounds[1]


Captions = Annotated[tuple[str, ...], PlainValidator(as_captions)]
CaptionsIfAny = Annotated[
    tuple[str, ...], PlainValidator(lambda value: () if value is None or value == [] else as_captions(value))
]
"""None where a test set leaves them out; an empty text is refused."""
Span = Annotated[tuple[float, float], PlainValidator(as_span)]


class CaptionSource(AnnotationSource):
    """A data set of captioned videos.

    Args:
        annotations, videos, limit: see `AnnotationSource`.
        split: train, val or test. Of a file that holds several, those of this one are read.
        instruction: that every video is captioned by.
    """

    def __init__(
        self,
        *,
        annotations: InputPath,
        videos: InputPath,
        split: str = "test",
        limit: int | None = None,
        instruction: str = DESCRIBE,
    ) -> None:
        super().__init__(annotations=annotations, videos=videos, split=split, limit=limit)
        if not instruction.strip():
            raise ValueError(f"instruction={instruction!r}: may not be empty")
        self.instruction = instruction
        self._captions: dict[str, dict[str, None]] = {}
        """Of each record, in the order in which they were found."""

    def is_of_split(self, told: str) -> bool:
        """Whether what a file calls a split is ours."""
        return told == self.split or told in SPLIT_NAMES.get(self.split, ())

    def captioned(
        self,
        row: Row,
        row_id: str,
        manifest: Manifest,
        captions: Sequence[str],
        span: tuple[float, float] | None = None,
        **fields: Any,
    ) -> VideoQuestion:
        """A record of one row.

        Args:
            row: for messages.
            row_id: of the video or stretch; rows of one id are captions of the same.
            manifest: gets a note where there is no caption.
            captions: of this row.
            span: seconds of the stretch that they are about; the whole video where there is none.
            fields: further ones of the record.
        """
        if not captions:
            manifest.repairs["no caption is given; kept without a reference"] += 1
        with row.reading("", None):
            return VideoQuestion(
                dataset=self.dataset,
                split=self.split,
                sample_id=row_id,
                question=self.instruction,
                references=tuple(captions),
                from_s=span[0] if span else 0.0,
                until_s=span[1] if span else None,
                **{"duration_s": 0.0, **fields},
            )

    def _questions(self, manifest: Manifest, on_bad_row: OnBadRow) -> Iterator[VideoQuestion]:
        self._captions.clear()
        for question in list(super()._questions(manifest, on_bad_row)):
            more = self._captions.get(question.sample_id)
            yield replace(question, references=tuple(more)) if more else question

    def join(self, row: Row, first: VideoQuestion, question: VideoQuestion, there: str) -> None:
        """Takes a row whose id an earlier one has for further captions of the same stretch."""
        if (first.video, first.from_s, first.until_s) != (question.video, question.from_s, question.until_s):
            raise RowError(row, "id", question.sample_id, f"an id of one video and stretch, and {there} has another")
        known = self._captions.setdefault(first.sample_id, dict.fromkeys(first.references))
        known.update(dict.fromkeys(question.references))


def is_json_object(path: Path) -> bool:
    """Whether a file is JSON that begins as an object does, and not as a list of rows."""
    if path.suffix != ".json" or not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"{")


def stretch_id(name: str, span: tuple[float, float] | None) -> str:
    """A name for a stretch of a video.

    >>> stretch_id("a/v0.mp4", (3.0, 4.5))
    'a/v0.mp4 3-4.5'
    """
    return name if span is None else f"{name} {span[0]:g}-{span[1]:g}"
