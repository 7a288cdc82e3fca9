"""Uniform: evenly spaced frames, the floor that every result is read against."""

from __future__ import annotations

import torch
from torch import Tensor

from modules.records import Selection
from modules.selection.base import FrameSampler
from modules.selection.even_spacing import evenly_spaced_rows
from modules.selection.policies import PlackettLuce


class _EvenSpread(PlackettLuce):
    """A uniform distribution whose mode is evenly spread."""

    def mode(self, num_frames: int) -> Selection:
        index = evenly_spaced_rows(self.mask.sum(1), num_frames)[:, None]
        return Selection(index, self.log_prob(index))


class Uniform(FrameSampler):
    """K frames evenly over the video; drawn uniformly at random where samples are asked for."""

    reads_features = False

    def forward(self, features: Tensor, mask: Tensor, timestamps_s: Tensor, queries: Tensor) -> PlackettLuce:
        return _EvenSpread(torch.zeros(mask.shape, device=mask.device), mask)
