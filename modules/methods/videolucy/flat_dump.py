"""A control without any search: all captions of one depth, read at once, in as much text as the search has read.

Two teams that re-ran tree agents found that this did better than their search; so it stands beside it in every table.
"""

from __future__ import annotations

import torch
from jsonargparse.typing import NonNegativeInt

from modules.methods.videolucy.backtracking import Finding
from modules.methods.videolucy.captioning import UndecodableVideoError
from modules.methods.videolucy.lucy_reply import reply_of, withheld
from modules.methods.videolucy.spending import thinned
from modules.methods.videolucy.videolucy import VideoLucy, lucy_named
from modules.records import QuestionBatch
from modules.systems.base import Reply, Setting, VideoSystem
from modules.systems.frame_source import FrameSource


class FlatDump(VideoSystem):
    """Answers once, from the captions of all spans of one level, which know no question.

    They are thinned evenly until they have as many characters as all that the reasoner read for the same question under
    the system that this one is like; so both read about as many tokens.

    Args:
        like: name of a `VideoLucy` system before this one; captioner, reasoner, scopes and prompts are its.
        level: of the captions: 1 is the second coarsest. A video of fewer levels takes its finest.
    """

    answers_together = False

    def __init__(self, *, like: str, level: NonNegativeInt = 1) -> None:
        super().__init__()
        self.like, self.level = like, level

    def prepare(self, name: str, setting: Setting, others: dict[str, VideoSystem]) -> None:
        super().prepare(name, setting, others)
        # not a part of this one: its weights are saved and moved once
        object.__setattr__(self, "other", lucy_named(self.like, name, others))

    other: VideoLucy

    def describe(self) -> str:
        return f"FlatDump of level {self.level}, as much text as {self.like} reads"

    @property
    def frames_per_question(self) -> int:
        return 0

    @torch.no_grad()
    def answer(self, batch: QuestionBatch, source: FrameSource) -> list[Reply]:
        return [self._answer(batch, b, source) for b in range(len(batch))]

    def _answer(self, batch: QuestionBatch, b: int, source: FrameSource) -> Reply:
        inquiry = self.other.inquiry(batch, b, source)
        spent = self.other.spending_on(inquiry.question.sample_id)
        try:
            inquiry.describe_all(min(self.level, len(inquiry.levels) - 1))
        except UndecodableVideoError:
            return withheld(inquiry, self.name, self.setting)
        lines = inquiry.tree.text().splitlines()
        if spent is not None:
            lines = thinned(lines, spent.characters_read)
        answer, form = inquiry.force("everything is read at once", lines)
        finding = Finding(answer, "read at once", None if form is None else inquiry.seconds_of(form.period))
        return reply_of(inquiry, finding, batch, b, self.name, self.setting, self.describe())
