"""Training examples for systems that read clips: a question and the few clips of its video in which the answer lies.

A clip is F seconds of a plan at one frame a second, played by frames of a pool that show the same things. Clips begin
at multiples of F behind an offset that is drawn anew, so that events lie anywhere in them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from datamodules.haystack.examples import PoolExamples, describe, draw_question, phase_at
from datamodules.haystack.pool import FramePool
from datamodules.haystack.world import VideoPlan
from modules.records import VideoQuestion


@dataclass(frozen=True, kw_only=True)
class ClipPhase:
    """One stretch of the lessons.

    Args:
        num_batches: its length.
        num_examples: in a batch; those of more clips take longer.
        num_clips: fewest and most clips of an example.
        captions_frac: share of examples that ask for all that is shown, in order.
        kinds: relative weight of each kind of question; one whose evidence lies in more clips is drawn again.
        passed_frac: share of questions whose evidence has passed when the last clip begins.
    """

    num_batches: int
    num_examples: int
    num_clips: tuple[int, int]
    captions_frac: float
    kinds: dict[str, float]
    passed_frac: float = 0.0


class ClipQuestions(PoolExamples):
    """Short videos of whole clips, made of those in which a question's evidence lies and of others.

    Where the evidence is, is told beside them, for a training that chooses and wants to be told.

    Args:
        phases: in order; the last one goes on for ever, and validation uses it.
        clip_frames: F.
        busy_frac: share of the other clips that are drawn from those in which something happens.
    """

    def __init__(self, *, phases: list[ClipPhase], clip_frames: int = 16, busy_frac: float = 0.7) -> None:
        super().__init__()
        self.phases, self.clip_frames, self.busy_frac = phases, clip_frames, busy_frac

    def phase(self, number: int) -> ClipPhase:
        """The phase that a batch belongs to."""
        return phase_at(self.phases, number)

    def batch(self, pool: FramePool, rng: np.random.Generator, size: int, number: int) -> dict[str, Any]:
        """Batch ``number``: questions, answers, ``index`` int64 (B, N, F) into the pool, ``start_s`` float (B, N).

        ``needed``, bool (B, N), says which clips show what is asked about. ``size`` is an upper bound; a phase has its
        own.
        """
        phase = self.phase(number)
        num_clips = int(rng.integers(phase.num_clips[0], phase.num_clips[1] + 1))
        examples = [self._example(pool, phase, num_clips, rng) for _ in range(min(size, phase.num_examples))]
        questions, answers, index, start_s, needed = zip(*examples, strict=True)
        return {
            "questions": list(questions),
            "answers": list(answers),
            "index": torch.from_numpy(np.stack(index)),
            "start_s": torch.from_numpy(np.stack(start_s)),
            "needed": torch.from_numpy(np.stack(needed)),
        }

    def _example(
        self, pool: FramePool, phase: ClipPhase, num_clips: int, rng: np.random.Generator
    ) -> tuple[VideoQuestion, str, np.ndarray, np.ndarray, np.ndarray]:
        while True:
            plan, question = draw_question(pool.world, phase.kinds, rng)
            times_s = self._times(plan, rng)
            events = events_at(plan, times_s)
            evidence = [e for e, event in enumerate(plan.events) if event.span_s in question.evidence_s]
            needed = np.flatnonzero(np.isin(events, evidence).any(1))
            passed = phase.passed_frac > 0 and rng.random() < phase.passed_frac
            fits = 0 < len(needed) <= num_clips - passed and num_clips <= len(times_s)
            if len(question.options) == 4 and fits and (not passed or needed[-1] + 1 < len(times_s)):
                break
        chosen = self._clips(events, needed, num_clips, passed, rng)
        index, shown = cast(pool, plan, times_s[chosen], events[chosen], rng)
        start_s = times_s[chosen, 0] - 0.5
        if rng.random() < phase.captions_frac:
            said = " ".join(describe(plan.events[e]) for e in shown) or describe(None)
            asked = VideoQuestion("haystack", "stream", "caption", "", question.duration_s, "What is shown?")
            return asked, said, index, start_s, (events[chosen] >= 0).any(1)
        answer = question.answer
        assert answer is not None
        return replace(question, video=plan.video_id), answer, index, start_s, np.isin(chosen, needed)

    def _times(self, plan: VideoPlan, rng: np.random.Generator) -> np.ndarray:
        """Seconds (N, F) of the video's frames, clip by clip."""
        offset = rng.uniform(0, 1) if rng.random() < 0.5 else rng.uniform(0, self.clip_frames)
        num_clips = int((plan.duration_s - offset) // self.clip_frames)
        return offset + 0.5 + np.arange(num_clips * self.clip_frames).reshape(num_clips, self.clip_frames)

    def _clips(
        self, events: np.ndarray, needed: np.ndarray, num_clips: int, passed: bool, rng: np.random.Generator
    ) -> np.ndarray:
        """Clips (num_clips,) in order of time, those that are needed among them; with ``passed``, one after them."""
        weight = np.where((events >= 0).any(1), self.busy_frac, 1 - self.busy_frac)
        weight = weight / np.where((events >= 0).any(1), (events >= 0).any(1).sum(), max(1, (events < 0).all(1).sum()))
        weight[needed] = 0
        if passed:
            later = weight * (np.arange(len(events)) > needed[-1])
            needed = np.append(needed, rng.choice(len(events), p=later / later.sum()))
            weight[needed] = 0
        left = num_clips - len(needed)
        others = rng.choice(len(events), left, replace=False, p=weight / weight.sum()) if left else np.empty(0)
        return np.sort(np.concatenate([needed, others]).astype(np.int64))


def events_at(plan: VideoPlan, times_s: np.ndarray) -> np.ndarray:
    """Which event is seen at each of some seconds, -1 for none; in their shape."""
    events = np.full(times_s.shape, -1)
    for e, event in enumerate(plan.events):
        events[(times_s >= event.start_s) & (times_s < event.end_s)] = e
    return events


def cast(
    pool: FramePool, plan: VideoPlan, times_s: np.ndarray, events: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, list[int]]:
    """Pool frames that play a plan, and which of its events they show, in order.

    Args:
        pool: of frames.
        plan: what happens.
        times_s, events: of the frames, in one shape.
        rng: draws who plays.
    """
    index = rng.choice(pool.background, times_s.shape)
    shown = [int(e) for e in dict.fromkeys(events[events >= 0].tolist())]
    for e in shown:
        event, where = plan.events[e], events == e
        stretches = pool.frames_showing(event)
        stretch = stretches[rng.integers(len(stretches))]
        progress = (times_s[where] - event.start_s) / (event.end_s - event.start_s)
        index[where] = stretch[np.minimum((progress * len(stretch)).astype(int), len(stretch) - 1)]
    return index, shown
