"""Rules that spread the chosen frames, over anybody's scores: the best of each bin, and AKS.

Both leave the distribution that is sampled from to the scorer and change only its best K frames. Over CLIP similarities
they are baselines; over TSPO's scores they are what its official code does on Video-MME (bin-max) or offers (AKS).
"""

from __future__ import annotations

from abc import abstractmethod

import torch
from jsonargparse.typing import PositiveFloat, PositiveInt
from torch import Tensor

from modules.policies import PlackettLuce
from modules.records import Selection
from modules.samplers.base import FrameSampler
from modules.samplers.training_free import TopK


class _Ruled(PlackettLuce):
    """A scorer's policy whose mode a rule chooses."""

    def __init__(self, logits: Tensor, mask: Tensor, scores: Tensor, rule: _SpreadSampler) -> None:
        super().__init__(logits, mask)
        self.scores, self.rule = scores, rule

    @torch.no_grad()
    def mode(self, num_frames: int) -> Selection:
        rows = []
        for scores, real in zip(self.scores.cpu(), self.mask.cpu(), strict=True):  # rules decide step by step
            chosen = self.rule.choose(scores[real], num_frames)
            best_first = chosen[scores[real][chosen].argsort(descending=True, stable=True)]
            rows.append(torch.nn.functional.pad(best_first, (0, num_frames - len(best_first)), value=-1))
        index = torch.stack(rows)[:, None].to(self.mask.device)
        return Selection(index, self.log_prob(index))


class _SpreadSampler(FrameSampler):
    """Args:
    scorer: whose scores are taken; CLIP similarity by default.
    """

    def __init__(self, *, scorer: FrameSampler | None = None) -> None:
        super().__init__()
        self.scorer = scorer or TopK()

    @abstractmethod
    def choose(self, scores: Tensor, num_frames: int) -> Tensor:
        """Scores float (T,) of one video -> distinct candidate indices, at most ``num_frames`` of them."""

    def forward(self, features: Tensor, mask: Tensor, timestamps_s: Tensor, queries: Tensor) -> PlackettLuce:
        policy = self.scorer(features, mask, timestamps_s, queries)
        scores = self.scores(features, mask, timestamps_s, queries)
        if scores is None or not isinstance(policy, PlackettLuce):
            raise ValueError(f"{type(self.scorer).__name__} scores no frames, so there is nothing to spread")
        return _Ruled(policy.logits, mask, scores, self)

    def scores(self, features: Tensor, mask: Tensor, timestamps_s: Tensor, queries: Tensor) -> Tensor | None:
        return self.scorer.scores(features, mask, timestamps_s, queries)


class BinMax(_SpreadSampler):
    """The best frame of each of K bins around evenly spaced centres (TSPO's official code, on Video-MME only).

    Centres are round(i (T - 1) / (K - 1)), halves to even; a frame belongs to the nearest, the lower one on a tie.
    """

    def choose(self, scores: Tensor, num_frames: int) -> Tensor:
        length = len(scores)
        size = min(num_frames, length)
        if size == 1:
            return scores.argmax()[None]
        centres = torch.tensor([round(i * (length - 1) / (size - 1)) for i in range(size)], device=scores.device)
        frames = torch.arange(length, device=scores.device)
        right = torch.searchsorted(centres, frames).clamp(max=size - 1)
        left = (right - 1).clamp(min=0)
        nearer_left = frames - centres[left] <= centres[right] - frames
        bins = torch.where((right > 0) & nearer_left & (centres[right] != frames), left, right)
        best = torch.full((size,), -torch.inf, device=scores.device, dtype=scores.dtype)
        best = best.scatter_reduce(0, bins, scores, "amax")
        # the first frame that reaches its bin's best score
        first = torch.full((size,), length, device=scores.device)
        at_best = torch.where(scores == best[bins], frames, length)
        return first.scatter_reduce(0, bins, at_best, "amin")


class AKS(_SpreadSampler):
    """Adaptive keyframe sampling (Tang et al., CVPR 2025), as in its official code.

    Scores go to 0..1. A segment is halved, down to ``depth``, unless its K best frames lie more than ``threshold``
    above its mean: then, or at the last level d, its int(K / 2^d) best are taken. Where that comes to fewer than K, the
    best of the rest fill up. (Official code: fewer than K, and NaN where all scores are alike; here: an even spread.)

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
            middles = (torch.arange(size, device=scores.device) + 0.5) * len(scores) / size
            return middles.long()
        normal = (scores - scores.min()) / span
        taken = torch.cat([self._take(normal, start, stop, depth, size) for start, stop, depth in
                           self._segments(normal, 0, len(scores), 0, size)])  # fmt: skip
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
