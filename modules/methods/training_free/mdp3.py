"""mDP3: the best list of frames by relevance and variety, found part by part with dynamic programming."""

from __future__ import annotations

from typing import Literal

import numpy as np
from jsonargparse.typing import PositiveFloat, PositiveInt
from numpy.typing import NDArray

from modules.methods.training_free.ranking import Frames, Scores
from modules.methods.training_free.rated_frames import RatedFrames
from modules.methods.training_free.rule import Rule
from modules.selection.base import FrameSampler

_OWN = 5.0
"""A frame's kernel with itself: five kernels of value 1."""


class MDP3(Rule):
    """Markov decision determinantal point process (Sun et al., ICCV 2025).

    A list is worth ``(2 / relevance) sum log k(f_t, q) + log det k(list)`` with k(x, y) the sum of exp(-|x - y|^2 / 2a)
    over a of 1/8, 1/4, 1/2, 1, 2, for vectors of length 1; k(f, q) comes from the score, which is taken for a cosine.
    The video is cut into parts; in each, for every number of frames so far, frames are taken greedily, given the last
    frame of that list, and dynamic programming over parts keeps the best list of each length. Takes T K^3 / 2
    multiplications: linear in T, but the dearest of the rules.

    # official code (a third party's copy; the authors' own was not found): the last frame's own worth counts again in
    every part that takes a frame, and a video has to be a multiple of its parts; here: it counts once, and the last
    part may be shorter.

    Args:
        scorer: whose scores are taken; CLIP similarity by default.
        relevance: lambda; the smaller, the more relevance weighs.
        part: candidates in a part; 32, or 128 for more than 32 frames, by default.
        compat: ``official``: the last frame's own worth counts again in each part.
    """

    uses_features = True

    def __init__(
        self,
        *,
        scorer: FrameSampler | None = None,
        relevance: PositiveFloat = 0.2,
        part: PositiveInt | None = None,
        compat: Literal["official"] | None = None,
    ) -> None:
        super().__init__(scorer=scorer)
        self.relevance, self.part, self.compat = float(relevance), part, compat

    def choose(self, frames: RatedFrames, num_frames: int) -> Frames:
        size = self.part or (32 if num_frames <= 32 else 128)
        worth = 2 / self.relevance * np.log(_kernel(frames.scores))
        values = np.array([0.0, *[-np.inf] * num_frames])  # of the best list of each length
        lists: list[list[int]] = [[] for _ in values]
        for start in range(0, len(frames), size):
            unit = frames.unit[start : start + size]
            reached = np.flatnonzero(np.isfinite(values))
            last = [lists[n][-1] if lists[n] else -1 for n in reached]
            gains, picks = self._greedy(frames, worth, start, unit, np.array(last), num_frames)
            total = np.full((len(reached), num_frames + 1), -np.inf)
            for row, n in enumerate(reached.tolist()):
                count = min(len(unit), num_frames - n)
                total[row, n : n + count + 1] = values[n] + gains[row, : count + 1]
            by = total.argmax(0)  # the first: of equal lists the one with fewer frames before this part
            values = total.max(0)
            lists = [
                [*lists[reached[row]], *sorted((start + picks[row, : n - reached[row]]).tolist())] if fine else []
                for n, (row, fine) in enumerate(zip(by, np.isfinite(values), strict=True))
            ]
        return np.array(lists[num_frames], dtype=np.int64)

    def _greedy(
        self, frames: RatedFrames, worth: Scores, start: int, unit: NDArray[np.float32], last: Frames, num_frames: int
    ) -> tuple[Scores, Frames]:
        """What 0 to K frames of a part add to each of S lists, (S, K + 1), and which they are, (S, K)."""
        length, count = len(unit), min(len(unit), num_frames)
        kernel = _kernel(_cosines(unit, unit))
        own = worth[start : start + length]
        rows = np.zeros((len(last), count + 1, length))
        given = last >= 0
        rows[given, 0] = _kernel(_cosines(frames.unit[last[given]], unit)) / np.sqrt(_OWN)
        left = _OWN - rows[:, 0] ** 2
        total = np.where(given & (self.compat is not None), worth[last] + np.log(_OWN), 0.0)
        gains, picks = np.zeros((len(last), num_frames + 1)), np.zeros((len(last), num_frames), dtype=np.int64)
        lists, taken = np.arange(len(last)), np.zeros(left.shape, dtype=bool)
        for k in range(count):
            gain = np.where(taken, -np.inf, own + np.log(np.maximum(left, 1e-12)))
            pick = gain.argmax(1)
            total = total + gain[lists, pick]
            gains[:, k + 1], picks[:, k] = total, pick
            taken[lists, pick] = True
            before = (rows[lists, : k + 1, pick][:, None] @ rows[:, : k + 1])[:, 0]
            row = (kernel[pick] - before) / np.sqrt(np.maximum(left[lists, pick], 1e-12))[:, None]
            rows[:, k + 1] = row
            left = left - row**2
        return gains, picks


def _cosines(left: NDArray[np.float32], right: NDArray[np.float32]) -> Scores:
    """As `RatedFrames.similarity`, (n, m)."""
    return np.round(left @ right.T, 6).astype(np.float64)


def _kernel(cosines: Scores) -> Scores:
    """k of vectors of length 1: |x - y|^2 / 2a = (1 - cosine) / a, so each term is the square of the one before."""
    term = np.exp((np.minimum(cosines, 1.0) - 1) / 2)
    total = term.copy()
    for _ in range(4):
        term = term * term
        total += term
    return total
