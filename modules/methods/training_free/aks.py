"""AKS: halves the video where its best frames lie apart, and takes the best of each part."""

from __future__ import annotations

import torch
from jsonargparse.typing import PositiveFloat, PositiveInt
from torch import Tensor

from modules.methods.training_free.scored_rule import ScoredRule
from modules.selection.base import FrameSampler
from modules.selection.even_spacing import evenly_spaced


class AKS(ScoredRule):
    """Adaptive keyframe sampling (Tang et al., CVPR 2025), as in its official code.

    Scores go to 0..1. A segment is halved, down to ``depth``, unless its K best frames lie more than ``threshold``
    above its mean: then, or at the last level d, its int(K / 2^d) best are taken. Where that comes to fewer than K, the
    best of the rest fill up. (Official code: fewer than K, and NaN where all scores are alike; here: evenly spaced.)

    Args:
        scorer: whose scores are taken; CLIP similarity by default.
        threshold: 0.2 for LongVideoBench, 0.8 for Video-MME in the official code.
        depth: 3 and 5.
    """

    def __init__(
        self, *, scorer: FrameSampler | None = None, threshold: PositiveFloat = 0.2, depth: PositiveInt = 3
    ) -> None:
        super().__init__(scorer=scorer)
        self.threshold, self.depth = float(threshold), int(depth)

    def choose(self, scores: Tensor, num_frames: int) -> Tensor:
        size = min(num_frames, len(scores))
        span = scores.max() - scores.min()
        if span == 0:
            return evenly_spaced(len(scores), size).to(scores.device)
        normal = (scores - scores.min()) / span
        taken = torch.cat(
            [
                self._take(normal, start, stop, depth, size)
                for start, stop, depth in self._segments(normal, 0, len(scores), 0, size)
            ]
        )
        rest = normal.clone()
        rest[taken] = -torch.inf
        return torch.cat([taken, rest.topk(size - len(taken)).indices])

    def _segments(self, scores: Tensor, start: int, stop: int, depth: int, size: int) -> list[tuple[int, int, int]]:
        part = scores[start:stop]
        peaked = bool(part.topk(min(size, len(part))).values.mean() - part.mean() > self.threshold)
        if peaked or depth == self.depth or len(part) < 2:
            return [(start, stop, depth)]
        middle = start + len(part) // 2
        return [
            *self._segments(scores, start, middle, depth + 1, size),
            *self._segments(scores, middle, stop, depth + 1, size),
        ]

    def _take(self, scores: Tensor, start: int, stop: int, depth: int, size: int) -> Tensor:
        count = min(size // 2**depth, stop - start)
        return scores[start:stop].topk(count).indices + start
