"""Any annotation source as a data module: one to train on, one to validate on, one to test on."""

from __future__ import annotations

import logging
import os
from typing import Any

import torch
from jsonargparse.typing import NonNegativeInt

from datamodules.annotations.base import Annotations, AnnotationSource, OnBadRow
from datamodules.questions.video_questions import VideoQuestionData
from modules.files.rows import FileError
from modules.records import VideoQuestion

_log = logging.getLogger(__name__)


class AnnotatedVideos(VideoQuestionData):
    """Questions from annotation files.

    Args:
        train, val, test: where each split's questions come from.
        num_val_videos: without ``val``, so many videos of ``train`` are held out, with all their questions.
        on_bad_row: ``raise`` stops at a row that is not as its layout wants it; ``skip`` leaves it out, counted.
        kwargs: see `VideoQuestionData`.
    """

    def __init__(
        self,
        *,
        train: AnnotationSource | None = None,
        val: AnnotationSource | None = None,
        test: AnnotationSource | None = None,
        num_val_videos: NonNegativeInt = 0,
        on_bad_row: OnBadRow = "raise",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.sources = {"train": train, "val": val, "test": test}
        self.num_val_videos, self.on_bad_row = num_val_videos, on_bad_row
        self._annotations: dict[str, Annotations] = {}

    def annotations(self, split: str) -> Annotations:
        """A source's questions and manifest, read once.

        Raises:
            ValueError: the recipe names no source for this split.
        """
        source = self.sources["test" if split == "predict" else split]
        if source is None:
            raise ValueError(f"data: this stage needs questions of split {split!r}, but data.{split} names no source")
        if split not in self._annotations:
            self._annotations[split] = source.load(self.on_bad_row)
            if split != "train" and self.sources["train"] is not None:
                self._say_what_leaks(split)
        return self._annotations[split]

    def _say_what_leaks(self, split: str) -> None:
        """Warns of videos that are trained on and measured on, whatever their questions."""
        try:
            trained = {os.path.realpath(q.video) for q in self.annotations("train").questions}
        except FileError as error:
            _log.warning("whether videos of split %r were trained on is not known: %s", split, error)
            return
        measured = {os.path.realpath(q.video) for q in self.annotations(split).questions}
        if both := sorted(trained & measured):
            _log.warning(
                "%d of %d videos of split %r are also trained on (e.g. %s): what is measured there says little about "
                "other videos. Put all questions on a video into one split",
                *(len(both), len(measured), split, both[0]),
            )

    def named_splits(self) -> list[str]:
        """Splits that have a source."""
        return [split for split, source in self.sources.items() if source is not None]

    def load_questions(self, split: str) -> list[VideoQuestion]:
        if self.sources["val"] is None and split in ("train", "val") and self.num_val_videos:
            questions = self.annotations("train").questions
            held = self._held_out(questions)
            return [q for q in questions if (q.video in held) == (split == "val")]
        return self.annotations(split).questions

    def _held_out(self, questions: list[VideoQuestion]) -> set[str]:
        videos = sorted({q.video for q in questions})
        if self.num_val_videos >= len(videos):
            raise ValueError(f"num_val_videos={self.num_val_videos} leaves none of {len(videos)} videos to train on")
        order = torch.randperm(len(videos), generator=torch.Generator().manual_seed(self.seed))
        return {videos[i] for i in order[: self.num_val_videos].tolist()}

    def describe(self) -> dict[str, Any]:
        files = {f: digest[:12] for a in self._annotations.values() for f, digest in a.manifest.files.items()}
        return {**super().describe(), "annotations": files}
