"""BOLT: frames at even steps of the score's mass, so that stretches of high scores get more of them."""

from __future__ import annotations

import numpy as np
from jsonargparse.typing import PositiveFloat

from modules.methods.training_free.ranking import Frames, filled, unit_range
from modules.methods.training_free.rated_frames import RatedFrames
from modules.methods.training_free.rule import Rule
from modules.selection.base import FrameSampler
from modules.selection.even_spacing import evenly_spaced


class BOLT(Rule):
    """Inverse transform sampling (Liu et al., CVPR 2025).

    ``w = ((s - min) / (max - min)) ^ power``; at each of K quantiles u from 1/K to 1 - 1/K, equally far apart, the
    first frame t with ``sum(w[:t + 1]) >= u sum(w)``. # official code: a frame of more than about 1/K of the mass comes
    several times, equal scores give frame 0 K times, and K = 1 asks for quantile 1; here: the best of the rest stand
    in for repetitions, equal scores are evenly spaced, and K = 1 asks for the median.

    Args:
        scorer: whose scores are taken; CLIP similarity by default.
        power: 3 for Video-MME and MLVU, 2.5 for LongVideoBench in the official README.
    """

    def __init__(self, *, scorer: FrameSampler | None = None, power: PositiveFloat = 3.0) -> None:
        super().__init__(scorer=scorer)
        self.power = float(power)

    def choose(self, frames: RatedFrames, num_frames: int) -> Frames:
        weights = unit_range(frames.scores) ** self.power
        if weights.min() == weights.max():
            return evenly_spaced(len(frames), num_frames).numpy()
        mass = np.cumsum(weights / weights.sum())
        quantiles = np.linspace(1 / num_frames, 1 - 1 / num_frames, num_frames) if num_frames > 1 else np.array([0.5])
        at = np.searchsorted(mass, quantiles).clip(max=len(frames) - 1)
        return filled(at, weights, num_frames)
