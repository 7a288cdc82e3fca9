"""Bin-max: the best frame of each of K stretches of the video."""

from __future__ import annotations

import numpy as np

from modules.methods.training_free.ranking import Frames, best
from modules.methods.training_free.rated_frames import RatedFrames
from modules.methods.training_free.rule import Rule


class BinMax(Rule):
    """The best frame of each of K bins around evenly spaced centres (TSPO's official code, on Video-MME only).

    Centres are round(i (T - 1) / (K - 1)), halves to even; a frame belongs to the nearest, the lower one on a tie.
    """

    def choose(self, frames: RatedFrames, num_frames: int) -> Frames:
        scores, length = frames.scores, len(frames)
        if num_frames == 1:
            return best(scores, 1)
        centres = np.array([round(i * (length - 1) / (num_frames - 1)) for i in range(num_frames)])
        middles = (centres[1:] + centres[:-1]) / 2
        bins = np.searchsorted(middles, np.arange(length))  # a frame in the middle belongs to the lower one
        order = np.lexsort((-scores, bins))  # stable: the earlier of equal frames comes first
        return order[np.searchsorted(bins[order], np.arange(num_frames))]
