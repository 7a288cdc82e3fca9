"""Farthest first: each frame is the one least like the frames taken before it, whatever the question is."""

from __future__ import annotations

import numpy as np

from modules.methods.training_free.ranking import Frames, spread
from modules.methods.training_free.rated_frames import RatedFrames
from modules.methods.training_free.rule import Rule

_SAME = 1 - 1e-6


class FarthestFirst(Rule):
    """K-centre greedy on features of length 1, from the first frame (lmms-eval's ``tools/lite``; VKF is of its kind).

    # official code: distances of the features as they come, and it stops with an error where all that is left are
    # repetitions; here: evenly spaced ones of those fill up. Linear in T times K.
    """

    uses_scores, uses_features, best_first = False, True, True

    def choose(self, frames: RatedFrames, num_frames: int) -> Frames:
        picks, nearest = [0], frames.similarity(0)
        while len(picks) < num_frames:
            pick = int(np.argmin(nearest))
            if nearest[pick] >= _SAME:
                break
            picks.append(pick)
            nearest = np.maximum(nearest, frames.similarity(pick))
        return spread(np.array(picks), len(frames), num_frames)
