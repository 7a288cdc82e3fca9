"""FOCUS: a bandit that scores few frames, looks closer where they promise most, and never asks about the rest."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from jsonargparse.typing import ClosedUnitInterval, PositiveFloat

from modules.methods.training_free.ranking import Frames, Scores, best, distinct, spread, unit_range
from modules.methods.training_free.rated_frames import RatedFrames
from modules.methods.training_free.rule import Rule
from modules.selection.base import FrameSampler

_COARSE_S, _FEWEST_ARMS, _LEAST_VARIANCE = 16.0, 8, 1e-6
_SHARE_OF_ARMS, _FEWEST_CHOSEN, _MOST_CHOSEN = 0.25, 4, 32
_GAP_S, _GAP_SHARE, _GAP_FROM_S = 1.0, 0.25, 0.2


@dataclass
class _Arm:
    """A stretch of the video and what was scored of it."""

    start: int
    stop: int
    frames: list[int] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)

    @property
    def centre(self) -> int:
        return (self.start + self.stop - 1) // 2

    def add(self, frames: Frames, scores: Scores) -> None:
        self.frames += frames.tolist()
        self.scores += scores.tolist()

    def bound(self, num_scored: int) -> float:
        """Mean + sqrt(2 ln N var / n) + 3 ln N / n, var with ddof 0: how good it may be."""
        n, log = len(self.scores), math.log(num_scored)
        variance = max(float(np.var(self.scores)), _LEAST_VARIANCE)
        return float(np.mean(self.scores)) + math.sqrt(2 * log * variance / n) + 3 * log / n


class FOCUS(Rule):
    """Frame-optimistic confidence upper-bound selection (NUS, 2025).

    The video is cut into arms of about 16 s. Of each, the middle frame and two random ones are scored; of the quarter
    of arms that may be best, a frame a second around the middle. A fifth of K are the best frames of all that were
    scored; the rest are drawn from the quarter of arms with the best mean, each frame with its nearest score.

    # official code: scores of the second round never reach their arms, which are chosen by their bound in the end, too;
    up to one arm of frames at the end belongs to no arm; estimates are cut to 0..1; fewer than K frames come where arms
    are short; one generator serves all questions of a rank. Here: they reach them, and arms are chosen by their mean,
    because the bound would now favour those that were hardly looked at; the last arm has those frames; nothing is cut;
    the best of what was scored fills up; a draw belongs to its question.

    Args:
        scorer: asked about few frames; CLIP similarity by default.
        top_share: of K, the best of all that were scored.
        temperature: of the draws in an arm, over estimates of 0..1.
        seed: another one draws other frames.
        compat: ``official``: as the official code does it.
    """

    best_first = True

    def __init__(
        self,
        *,
        scorer: FrameSampler | None = None,
        top_share: ClosedUnitInterval = 0.2,
        temperature: PositiveFloat = 0.06,
        seed: int = 0,
        compat: Literal["official"] | None = None,
    ) -> None:
        super().__init__(scorer=scorer)
        self.top_share, self.temperature, self.seed = float(top_share), float(temperature), seed
        self.compat = compat

    def choose(self, frames: RatedFrames, num_frames: int) -> Frames:
        rng, steps = frames.generator, np.diff(frames.timestamps_s)
        fps = 1 / max(float(np.median(steps)), 1e-6) if len(steps) else 1.0
        duration_s = len(frames) / max(1.0, fps) if self.compat else len(frames) / fps
        num_arms = max(_FEWEST_ARMS, math.ceil(duration_s / _COARSE_S))
        stride = max(1, len(frames) // num_arms)
        arms = self._arms(len(frames), stride)
        self._score_coarsely(frames, arms, rng)
        half = max(1, round(max(1 / fps, duration_s / num_arms / 2) * fps))
        self._score_finely(frames, arms, half, min(max(1, round(fps)), stride), rng)
        taken = best(_known(frames), round(self.top_share * min(num_frames, len(frames.asked))))
        gap_s = duration_s / num_frames
        gap = 0 if gap_s <= _GAP_FROM_S else round(min(_GAP_SHARE * gap_s, _GAP_S) * fps)
        taken = self._drawn(arms, taken, num_frames, gap, rng)
        if self.compat:
            return taken
        scored = [t for t in best(_known(frames), len(frames.asked)) if t not in set(taken.tolist())]
        return spread(np.concatenate([taken, np.array(scored, dtype=np.int64)]), len(frames), num_frames)

    def _arms(self, total: int, stride: int) -> list[_Arm]:
        count = max(1, total // stride)
        size = max(1, total // count)
        arms = [_Arm(n * size, (n + 1) * size) for n in range(count)]
        if not self.compat:
            arms[-1].stop = total
        return arms

    def _score_coarsely(self, frames: RatedFrames, arms: list[_Arm], rng: np.random.Generator) -> None:
        picks = []
        for arm in arms:
            others = np.delete(np.arange(arm.start, arm.stop), arm.centre - arm.start)
            drawn = rng.choice(others, size=min(2, len(others)), replace=False) if len(others) else others
            picks.append(np.concatenate([[arm.centre], drawn]))
        scores = frames.rate(np.concatenate(picks))
        for arm, own, part in zip(arms, picks, np.split(scores, np.cumsum([len(p) for p in picks])[:-1]), strict=True):
            arm.add(own, part)

    def _score_finely(
        self, frames: RatedFrames, arms: list[_Arm], half: int, stride: int, rng: np.random.Generator
    ) -> None:
        before = frames.asked
        seen = np.zeros(len(frames), dtype=bool)
        seen[before] = True
        bounds = np.array([arm.bound(len(before)) for arm in arms])
        for arm in _promising(arms, bounds, len(arms)):
            start, stop = max(0, arm.centre - half), min(len(frames), arm.centre + half + 1)
            wanted = max(1, (stop - start) // stride)
            num_even = round(wanted * 0.5)
            if num_even >= stop - start:
                seen[(start + stop - 1) // 2] = True
            elif num_even:
                step = (stop - start) / num_even
                seen[[min(start + int(n * step + step / 2), stop - 1) for n in range(num_even)]] = True
            left = start + np.flatnonzero(~seen[start:stop])
            if wanted > num_even and len(left):
                seen[rng.choice(left, size=min(wanted - num_even, len(left)), replace=False)] = True
        fine = np.setdiff1d(np.flatnonzero(seen), before, assume_unique=True)
        scores = frames.rate(fine)
        if not self.compat:
            owner = np.searchsorted([arm.start for arm in arms], fine, side="right") - 1
            for number in np.unique(owner):
                arms[number].add(fine[owner == number], scores[owner == number])

    def _drawn(self, arms: list[_Arm], taken: Frames, num_frames: int, gap: int, rng: np.random.Generator) -> Frames:
        """``taken``, and the rest of K from the best arms, evenly many of each."""
        num_scored = sum(len(arm.scores) for arm in arms)
        worth = np.array([arm.bound(num_scored) if self.compat else np.mean(arm.scores) for arm in arms])
        chosen = _promising(arms, worth, _MOST_CHOSEN)
        left = num_frames - len(taken)
        for rank, arm in enumerate(chosen):
            needed = left // len(chosen) + (rank < left % len(chosen))
            own = np.setdiff1d(np.arange(arm.start, arm.stop), taken, assume_unique=False)
            if not needed or not len(own):
                continue
            if gap and len(taken):
                apart = own[(np.abs(own[:, None] - taken[None]) >= gap).all(1)]
                own = apart if len(apart) else own
            nearest = np.abs(np.array(arm.frames)[None] - own[:, None]).argmin(1)
            estimates = np.array(arm.scores)[nearest]
            if self.compat:
                estimates = estimates.clip(0.0, 1.0)
            logits = unit_range(estimates) / self.temperature
            shares = np.exp(logits - logits.max())
            picks = rng.choice(len(own), size=min(needed, len(own)), p=shares / shares.sum(), replace=False)
            taken = np.concatenate([taken, own[picks]])
        return distinct(taken)


def _known(frames: RatedFrames) -> Scores:
    """float64 (T,), -inf where the scorer was not asked."""
    known = np.full(len(frames), -np.inf)
    known[frames.asked] = frames.rate(frames.asked)
    return known


def _promising(arms: list[_Arm], worth: Scores, most: int) -> list[_Arm]:
    """The best quarter of arms by their worth, at least 4 and at most so many of them, best first."""
    count = min(max(_FEWEST_CHOSEN, math.ceil(len(arms) * _SHARE_OF_ARMS)), most, len(arms))
    return [arms[n] for n in best(worth, count)]
