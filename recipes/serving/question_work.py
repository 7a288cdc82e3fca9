"""One question on its way through the server, and what becomes of it."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor

from modules.records import Candidates, VideoQuestion
from modules.selection.selection_row import SelectionRow
from modules.systems.base import Reply
from recipes.serving.jpeg_pictures import PictureForm

Kind = Literal["answer", "select"]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of a question."""

    question: VideoQuestion
    candidates: Candidates
    selection: SelectionRow | None
    """Where it was looked; None where nobody knows."""
    candidate_scores: Tensor | None
    """float32 (T,); None where the system has none."""
    reply: Reply | None
    """None where only frames were chosen."""
    pictures: list[bytes] | None
    """K JPEG files, one a candidate that was chosen (of a clip, its middle frame), in order of time, where they were
    wanted."""
    num_wanted: int
    """K that was asked for."""
    num_together: int
    """Questions that were answered in one batch."""
    seconds: dict[str, float]
    """That passed on the way here: waiting, preparing the video, answering."""


@dataclass(eq=False, kw_only=True)
class QuestionWork:
    """A question that waits for its outcome."""

    kind: Kind
    system: str
    question: VideoQuestion
    """Its ``video`` is the file on this machine."""
    video_name: str
    """By which the client knows it."""
    num_frames: int
    max_new_tokens: int | None
    pictures: PictureForm | None
    """How the chosen frames are wanted; None: they are not."""
    deadline: float
    """Of ``time.monotonic``."""
    gone: threading.Event = field(default_factory=threading.Event)
    """Set when the client has left."""
    outcome: Future[Outcome] = field(default_factory=Future)
    seconds: dict[str, float] = field(default_factory=dict)
    _since: float = field(default_factory=time.monotonic)

    @property
    def abandoned(self) -> bool:
        """Whether nobody waits for it any more."""
        return self.gone.is_set() or time.monotonic() > self.deadline

    @property
    def batch_key(self) -> tuple[object, ...]:
        """Questions with the same key are answered in one batch."""
        question = self.question
        return (self.kind, self.system, question.video, bool(question.options), self.num_frames, self.max_new_tokens)

    def lap(self, part: str) -> None:
        """The time since the last lap was this part's."""
        now = time.monotonic()
        self.seconds[part] = self.seconds.get(part, 0.0) + now - self._since
        self._since = now
