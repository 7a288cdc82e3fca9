"""AKS: halves the video where its best frames lie apart, and takes the best of each part."""

from __future__ import annotations

from typing import Literal

import numpy as np
from jsonargparse.typing import PositiveFloat, PositiveInt

from modules.methods.training_free.ranking import Frames, Scores, best, filled, unit_range
from modules.methods.training_free.rated_frames import RatedFrames
from modules.methods.training_free.rule import Rule
from modules.selection.base import FrameSampler
from modules.selection.even_spacing import evenly_spaced


class AKS(Rule):
    """Adaptive keyframe sampling (Tang et al., CVPR 2025).

    Scores go to 0..1. A segment is halved, down to ``depth``, unless its K best frames lie more than ``threshold``
    above its mean: then, or at the last level d, its int(K / 2^d) best are taken. Where that comes to fewer than K, the
    best of the rest fill up, and where all scores are alike, frames are evenly spaced.

    Args:
        scorer: whose scores are taken; CLIP similarity by default.
        threshold: 0.8 in the official code; 0.2 for LongVideoBench in TSPO's copy of it.
        depth: 5 in the official code, 3 for LongVideoBench in TSPO's.
        compat: ``official``: nothing fills up, so fewer than K frames come where K is no multiple of 2^d or a segment
            is short, and none at all where K < 2^depth and nothing stands out.
    """

    def __init__(
        self,
        *,
        scorer: FrameSampler | None = None,
        threshold: PositiveFloat = 0.2,
        depth: PositiveInt = 3,
        compat: Literal["official"] | None = None,
    ) -> None:
        super().__init__(scorer=scorer)
        self.threshold, self.depth, self.compat = float(threshold), int(depth), compat

    def choose(self, frames: RatedFrames, num_frames: int) -> Frames:
        scores = unit_range(frames.scores)
        if scores.min() == scores.max():
            return evenly_spaced(len(scores), num_frames).numpy()
        segments = self._segments(scores, 0, len(scores), 0, num_frames)
        parts = [best(scores[a:b], min(num_frames // 2**depth, b - a)) + a for a, b, depth in segments]
        taken = np.concatenate(parts)
        return taken if self.compat else filled(taken, scores, num_frames)

    def _segments(self, scores: Scores, start: int, stop: int, depth: int, size: int) -> list[tuple[int, int, int]]:
        part = scores[start:stop]
        peaked = bool(part[best(part, size)].mean() - part.mean() > self.threshold)
        if peaked or depth == self.depth or len(part) < 2:
            return [(start, stop, depth)]
        middle = start + len(part) // 2
        return [
            *self._segments(scores, start, middle, depth + 1, size),
            *self._segments(scores, middle, stop, depth + 1, size),
        ]
