"""The one thing that a test, the command line, a server and another harness know: something that answers questions.

A system is asked about a batch and replies to each of its questions with its raw answer, where it looked, and what that
cost. How it comes to its answer is its own affair.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from modules.encoders.base import FrameEncoder
from modules.encoders.frame_demand import FrameDemand
from modules.records import Answer, Cost, QuestionBatch, Rollouts, TraceStep, VideoQuestion
from modules.selection.selection_row import SelectionRow
from modules.systems.answering import Answering
from modules.systems.frame_source import FrameSource


@dataclass(frozen=True)
class Reply:
    """What a system says to one question."""

    answer: Answer
    selection: SelectionRow | None
    """Where it looked; None where nobody knows, or where it did not look."""
    cost: Cost
    trace: tuple[TraceStep, ...] = ()
    """What it did, step by step, where it reasons in steps."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What systems that are compared have in common."""

    answering: Answering
    """Who answers."""
    num_frames: int
    """K."""
    score_options: bool = True
    """Take log-probabilities of the options."""
    write_text: bool = False
    """Take an answer in text."""

    def __post_init__(self) -> None:
        if not (self.score_options or self.write_text):
            raise ValueError("nothing to evaluate: score_options or generate has to be true")


class VideoSystem(nn.Module, FrameDemand):
    """Answers questions about videos.

    A system that is named in a recipe is built without who answers; whoever runs it gives it its `Setting` and a name.
    """

    name: str = "system"
    """Under which it is compared."""
    answers_together: bool = True
    """Whether a batch of questions takes less than one after another; an agent goes through them one by one."""
    setting: Setting

    def prepare(self, name: str, setting: Setting, others: dict[str, VideoSystem]) -> None:
        """Called once before the first question.

        Args:
            name: of this system.
            setting: who answers, on how many frames, in which form.
            others: the systems that it is compared with, by name.
        """
        self.name, self.setting = name, setting

    @abstractmethod
    def answer(self, batch: QuestionBatch, source: FrameSource) -> list[Reply]:
        """One reply to each of B questions, in their order.

        Args:
            batch: B questions with their candidates.
            source: of frames and text features.
        """

    @property
    def sampler_place(self) -> str | None:
        """Name of the part that a checkpoint's trained sampler is of; None where the system has none of its own."""
        return None

    def describe(self) -> str:
        """Class, settings and weights, as short as a line of an evaluation card wants it."""
        return type(self).__name__

    def shortfalls(self) -> dict[str, int]:
        """How often something of its own went otherwise than it should, so far: words after the number."""
        return {}

    @contextmanager
    def stored_encoders(self) -> Iterator[list[FrameEncoder]]:
        answering = self.setting.answering
        yield [answering.mllm] if answering.store_frame_tokens else []

    @property
    def frames_per_question(self) -> int:
        return self.setting.num_frames if self.setting.answering.decodes else 0


def answer_of(rollouts: Rollouts, b: int, system: str, timestamps_s: tuple[float, ...]) -> Answer:
    """The answer to question b on its first selection, as it is kept.

    Args:
        rollouts: of B questions.
        b: which.
        system: name of the system.
        timestamps_s: of the frames that were shown.
    """
    question, scores = rollouts.batch.questions[b], rollouts.option_log_probs
    return answer_to(
        question,
        system,
        text=None if rollouts.texts is None else rollouts.texts[b][0],
        option_log_probs=None if scores is None else tuple(scores[b, 0, : len(question.options)].tolist()),
        timestamps_s=timestamps_s,
    )


def answer_to(
    question: VideoQuestion,
    system: str,
    *,
    text: str | None,
    option_log_probs: tuple[float, ...] | None,
    timestamps_s: tuple[float, ...],
    exit_name: str | None = None,
) -> Answer:
    """An answer with what it has of its question.

    Args:
        question: that was asked.
        system: name of the system.
        text: the raw answer, where words were asked for.
        option_log_probs: nats, one an option, where options were scored.
        timestamps_s: of the frames that were shown.
        exit_name: how an agent came to its end.
    """
    return Answer(
        dataset=question.dataset,
        split=question.split,
        sample_id=question.sample_id,
        video=question.video,
        system=system,
        question=question.question,
        options=question.options,
        answer_index=question.answer_index,
        references=question.references,
        text=text,
        option_log_probs=option_log_probs,
        timestamps_s=timestamps_s,
        evidence_s=question.evidence_s,
        groups=question.groups,
        exit=exit_name,
    )


def selection_of(
    batch: QuestionBatch, b: int, system: str, candidate_index: Tensor, scores: Tensor | None, digest: str
) -> SelectionRow:
    """Where a system looked to answer question b.

    Args:
        batch: B questions.
        b: which.
        system: name of the system.
        candidate_index: int64 (K,) in the order in which they were chosen, -1 at padding.
        scores: float (T,) of the candidates, where there are some.
        digest: of what chose them.
    """
    question, candidates = batch.questions[b], batch.candidates[b]
    drawn = candidate_index.cpu()
    drawn = drawn[drawn >= 0]
    order = drawn.argsort()
    chosen = drawn[order]
    frame_ids, times_s, places = candidates.frames_of(chosen)
    return SelectionRow(
        dataset=question.dataset,
        split=question.split,
        sample_id=question.sample_id,
        video=candidates.video,
        sampler=system,
        frame_ids=tuple(frame_ids.tolist()),
        timestamps_s=tuple(round(t, 6) for t in times_s.tolist()),
        scores=() if scores is None else tuple(scores.cpu()[chosen][places].tolist()),
        ranks=tuple(order[places].tolist()),
        video_fps=candidates.video_fps,
        num_video_frames=candidates.num_video_frames,
        num_candidates=len(candidates),
        decoder=candidates.decoder,
        sampler_hash=digest,
    )


def prepared(systems: dict[str, VideoSystem], setting: Setting) -> dict[str, VideoSystem]:
    """Gives systems their names and their common setting."""
    for name, system in systems.items():
        system.prepare(name, setting, systems)
    return systems


@torch.no_grad()
def answer_all(systems: dict[str, VideoSystem], batch: QuestionBatch, source: FrameSource) -> list[Reply]:
    """The replies of every system to every question."""
    return [reply for system in systems.values() for reply in system.answer(batch, source)]


def described(systems: dict[str, VideoSystem]) -> dict[str, Any]:
    """A line a system, for an evaluation card."""
    return {name: system.describe() for name, system in systems.items()}
