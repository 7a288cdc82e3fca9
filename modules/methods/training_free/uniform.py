"""Uniform: evenly spaced frames, the floor that every result is read against."""

from __future__ import annotations

import torch
from torch import Tensor

from modules.records import Selection
from modules.selection.base import FrameSampler
from modules.selection.policies import PlackettLuce


class _EvenSpread(PlackettLuce):
    """A uniform distribution whose mode is evenly spread."""

    def mode(self, num_frames: int) -> Selection:
        num_candidates = self.mask.sum(1, keepdim=True)
        # the middles of K equal stretches: no frame twice as long as K <= T, and no bias to either end
        middles = (torch.arange(num_frames, device=self.mask.device)[None] + 0.5) * num_candidates / num_frames
        index = torch.where(
            num_candidates >= num_frames, middles.long(), torch.arange(num_frames, device=self.mask.device)
        )
        index = index.masked_fill(index >= num_candidates, -1)[:, None]
        return Selection(index, self.log_prob(index))


class Uniform(FrameSampler):
    """K frames evenly over the video; drawn uniformly at random where samples are asked for."""

    reads_features = False

    def forward(self, features: Tensor, mask: Tensor, timestamps_s: Tensor, queries: Tensor) -> PlackettLuce:
        return _EvenSpread(torch.zeros(mask.shape, device=mask.device), mask)
