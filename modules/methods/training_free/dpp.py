"""DPP: the greedy most probable set of a determinantal point process over relevant frames."""

from __future__ import annotations

import numpy as np
from jsonargparse.typing import OpenUnitInterval

from modules.methods.training_free.greedy import cholesky_row
from modules.methods.training_free.ranking import Frames, filled, unit_range
from modules.methods.training_free.rated_frames import RatedFrames
from modules.methods.training_free.rule import Rule
from modules.selection.base import FrameSampler


class DPP(Rule):
    """MAP of a DPP with kernel ``r_i cos(f_i, f_j) r_j`` by Chen et al.'s greedy (NeurIPS 2018), as in TimeSearch-R.

    r is the score by its range, 0..1; with ``theta``, exp(theta r / (2 (1 - theta))). The kernel is never made: a pick
    takes T (D + K). # official code: NaN where all scores are alike or K exceeds the rank of the features; here: equal
    scores count 1, and where no frame adds volume the best of the rest fill up.

    Args:
        scorer: whose scores are taken; CLIP similarity by default.
        theta: weight of relevance against variety; None (official default): r itself.
    """

    uses_features, best_first = True, True

    def __init__(self, *, scorer: FrameSampler | None = None, theta: OpenUnitInterval | None = None) -> None:
        super().__init__(scorer=scorer)
        self.theta = theta

    def choose(self, frames: RatedFrames, num_frames: int) -> Frames:
        relevance = unit_range(frames.scores)
        if self.theta is not None:
            relevance = np.exp(self.theta / (2 * (1 - self.theta)) * relevance)
        left = relevance**2 * (np.linalg.norm(frames.unit, axis=1) > 0)
        smallest = 1e-6 * left.max()
        rows = np.zeros((num_frames, len(frames)))
        picks: list[int] = []
        while len(picks) < num_frames and left.max() > smallest:
            pick, k = int(np.argmax(left)), len(picks)
            row = relevance * frames.similarity(pick) * relevance[pick]
            rows[k] = cholesky_row(row, rows[:k], pick, left)
            left = left - rows[k] ** 2
            left[[*picks, pick]] = -np.inf
            picks.append(pick)
        return filled(np.array(picks, dtype=np.int64), frames.scores, num_frames)
