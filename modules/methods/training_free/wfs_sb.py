"""WFS-SB: cuts the score where a wavelet sees it change, shares the budget out to the parts, and takes MMR in each."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from jsonargparse.typing import NonNegativeFloat, OpenUnitInterval, PositiveFloat
from scipy.signal import find_peaks

from modules.methods.training_free.greedy import marginal_relevance
from modules.methods.training_free.ranking import Frames, Scores, best, unit_range
from modules.methods.training_free.rated_frames import RatedFrames
from modules.methods.training_free.rule import Rule
from modules.methods.training_free.wavelet import coarsest_detail, num_levels
from modules.selection.base import FrameSampler


@dataclass(frozen=True, kw_only=True)
class PartWeights:
    """What makes a part of the video worth frames; the values of the official configuration for all benchmarks."""

    duration: NonNegativeFloat = 0.4
    mean: NonNegativeFloat = 0.2
    maximum: NonNegativeFloat = 0.3
    variance: NonNegativeFloat = 0.1


class WFSSB(Rule):
    """Wavelet-based frame selection with semantic boundaries (CVPR 2026).

    The coarsest detail band of the scores (db4) has peaks where scores change; these cut the video. A part is worth a
    weighted sum of its share of the video, its mean, maximum and relative variance; parts worth less than
    ``max(0.05, mean - strictness * std)`` are left out where there are more than three. Softmax of worth shares K out,
    fractions to the largest, and MMR takes the frames, in each part from its best frame. Where parts are too short, MMR
    over the whole video fills up; where nothing is cut, K / 2 even frames and the best of the rest are taken. Linear in
    T times K. # official code: equal scores are cut at their rounding noise; here they are not cut. Of equal scores and
    fractions it takes the later; here: the earlier.

    Args:
        scorer: whose scores are taken; CLIP similarity by default.
        weights: of what a part is worth.
        strictness: how far below the mean a part is left out, in standard deviations (ddof 0).
        relevance: MMR's weight of the score.
        temperature: of the softmax.
        compat: ``official``: scores are taken as they come, in 0..1; else by their range, whatever it is.
    """

    uses_features = True

    def __init__(
        self,
        *,
        scorer: FrameSampler | None = None,
        weights: PartWeights | None = None,
        strictness: NonNegativeFloat = 1.2,
        relevance: OpenUnitInterval = 0.5,
        temperature: PositiveFloat = 1.0,
        compat: Literal["official"] | None = None,
    ) -> None:
        super().__init__(scorer=scorer)
        self.weights = weights or PartWeights()
        self.strictness, self.relevance, self.temperature = float(strictness), float(relevance), float(temperature)
        self.compat = compat

    def choose(self, frames: RatedFrames, num_frames: int) -> Frames:
        scores = frames.scores if self.compat else unit_range(frames.scores)
        cuts = cuts_of(scores)
        if not len(cuts):
            evenly = np.linspace(0, len(scores) - 1, num_frames // 2, dtype=int)
            rest = scores.copy()
            rest[evenly] = -np.inf
            return np.concatenate([evenly, best(rest, num_frames - len(evenly))])
        taken = np.concatenate(
            [
                start + self._within(frames, scores, start, stop, share)
                for start, stop, share in self._shares(scores, cuts, num_frames)
            ]
        )
        more = marginal_relevance(frames, 2 * scores - 1, self.relevance, num_frames - len(taken), chosen=taken)
        return np.concatenate([taken, more])

    def _shares(self, scores: Scores, cuts: Frames, num_frames: int) -> list[tuple[int, int, int]]:
        """(start, stop, frames) of the parts that get some."""
        edges = [0, *cuts.tolist(), len(scores)]
        parts = list(pairwise(edges))
        worth = np.array([self._worth(scores, a, b) for a, b in parts])
        if len(parts) > 3:
            kept = worth >= max(0.05, worth.mean() - self.strictness * worth.std())
            if kept.any():
                parts, worth = [p for p, k in zip(parts, kept, strict=True) if k], worth[kept]
        share = np.exp((worth - worth.max()) / self.temperature)
        share = share / share.sum() * num_frames
        counts = np.floor(share).astype(int)
        counts[best(share - counts, num_frames - counts.sum())] += 1
        return [(a, b, n) for (a, b), n in zip(parts, counts.tolist(), strict=True) if n]

    def _worth(self, scores: Scores, start: int, stop: int) -> float:
        part, weights = scores[start:stop], self.weights
        return float(
            weights.duration * len(part) / len(scores)
            + weights.mean * part.mean()
            + weights.maximum * part.max()
            + weights.variance * part.var() / (scores.var() + 1e-8)
        )

    def _within(self, frames: RatedFrames, scores: Scores, start: int, stop: int, count: int) -> Frames:
        return marginal_relevance(
            frames.part(start, stop), 2 * scores[start:stop] - 1, self.relevance, min(count, stop - start)
        )


def cuts_of(scores: Scores) -> Frames:
    """Peaks of the coarsest detail: half a standard deviation above its mean or more, standing out by 5 % of its range,
    max(5, T / 50) frames apart."""
    detail = np.abs(coarsest_detail(scores, num_levels(len(scores))))
    if detail.max() <= 1e-12 * np.abs(scores).max():
        return np.empty(0, dtype=np.int64)
    peaks, _ = find_peaks(
        detail,
        height=detail.mean() + 0.5 * detail.std(),
        prominence=0.05 * (detail.max() - detail.min()),
        distance=max(5, len(scores) // 50),
    )
    return peaks
