"""Facility location: frames that together are like as much of the video as possible, whatever the question is."""

from __future__ import annotations

import numpy as np
from jsonargparse.typing import PositiveInt

from modules.methods.training_free.greedy import lazy_greedy
from modules.methods.training_free.ranking import Frames
from modules.methods.training_free.rated_frames import RatedFrames
from modules.methods.training_free.rule import Rule
from modules.selection.base import FrameSampler
from modules.selection.even_spacing import evenly_spaced


class FacilityLocation(Rule):
    """Greedy maximum of ``sum_i max_{j chosen} max(0, cos(f_i, f_j))``, with lazy updates.

    The sum over all frames i would take T^2 D; here i runs over ``num_covered`` evenly spaced frames, and j over all,
    so the rule is linear in T.

    Args:
        scorer: says in which order the frames are worth something; not needed.
        num_covered: frames that are to be covered; all of a shorter video.
    """

    uses_scores, uses_features, best_first = False, True, True

    def __init__(self, *, scorer: FrameSampler | None = None, num_covered: PositiveInt = 192) -> None:
        super().__init__(scorer=scorer)
        self.num_covered = int(num_covered)

    def choose(self, frames: RatedFrames, num_frames: int) -> Frames:
        covered = evenly_spaced(len(frames), min(self.num_covered, len(frames))).numpy()
        alike = frames.similarity(covered).clip(min=0)  # (T, covered)
        reached = np.zeros(len(covered))

        def take(t: int) -> None:
            np.maximum(reached, alike[t], out=reached)

        def gain(t: int) -> float:
            return float(np.maximum(alike[t] - reached, 0).sum())

        return lazy_greedy(alike.sum(1), gain, take, num_frames)
