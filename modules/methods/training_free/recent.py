"""Recent: the last K frames, the control that many streaming memories do not beat."""

from __future__ import annotations

import torch
from torch import Tensor

from modules.selection.base import FrameSampler
from modules.selection.policies import PlackettLuce


class Recent(FrameSampler):
    """The last K candidates of the video; drawn samples are nearly always the same ones.

    The logit of a candidate is its number, so each is e times as probable as the one before it.
    """

    reads_features = False

    def forward(self, features: Tensor, mask: Tensor, timestamps_s: Tensor, queries: Tensor) -> PlackettLuce:
        number = torch.arange(mask.shape[1], device=mask.device, dtype=torch.float32)
        return PlackettLuce(number.expand(mask.shape), mask)
