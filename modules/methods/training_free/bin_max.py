"""Bin-max: the best frame of each of K stretches of the video."""

from __future__ import annotations

import torch
from torch import Tensor

from modules.methods.training_free.scored_rule import ScoredRule


class BinMax(ScoredRule):
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
