"""The probability that the MLLM gives to the right option.

Its expectation over sampled answers is that of the 0/1 reward, with hardly any of its variance: one forward, no draw.
"""

from __future__ import annotations

import torch
from torch import Tensor

from modules.records import Rollouts
from modules.rewards.base import Reward


class Probability(Reward):
    """p(right option), normalised over the options; in 0..1."""

    def __call__(self, rollouts: Rollouts) -> Tensor:
        assert rollouts.option_log_probs is not None
        answer = rollouts.answer_index.to(rollouts.option_log_probs.device)
        index = answer.clamp(min=0)[:, None, None].expand(-1, rollouts.option_log_probs.shape[1], 1)
        right = rollouts.option_log_probs.gather(-1, index)[..., 0].exp()
        return right.masked_fill((answer < 0)[:, None], torch.nan)
