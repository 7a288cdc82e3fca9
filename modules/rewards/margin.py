"""How far the right option is ahead of the strongest wrong one (ReFoCUS, sec. 3.2), from a frozen reference model.

It tells apart selections whose answers are equally right or wrong, and does not depend on the order in which frames
were drawn, since they are shown in order of time.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from modules.records import Rollouts
from modules.rewards.base import Reward

MarginOf = Literal["logits", "probabilities"]


def margin_of(option_log_probs: Tensor, answer_index: Tensor, of: MarginOf = "logits") -> Tensor:
    """tanh((z* - z') / 2), or p* - p', in -1..1.

    z are the options' log-probabilities (their differences are those of the logits), p the probabilities, z' and p' of
    the strongest wrong option. tanh((z* - z') / 2) is p* - p' over those two options alone, so it does not shrink where
    a third option takes its share.

    Args:
        option_log_probs: (..., O), -inf at absent options.
        answer_index: int64 (...), broadcast; -1 where the answer is not known.
        of: ``logits`` (paper, version 2) or ``probabilities`` (its figure 3).

    Returns:
        (...); -1 where the right option has no probability at all, or there is no answer; NaN where it is not known.
    """
    answer_index = answer_index.to(option_log_probs.device).expand(option_log_probs.shape[:-1])
    right = torch.nn.functional.one_hot(answer_index.clamp(min=0), option_log_probs.shape[-1]).bool()
    correct = option_log_probs.masked_fill(~right, -torch.inf).amax(-1)
    wrong = option_log_probs.masked_fill(right, -torch.inf).amax(-1)
    margin = ((correct - wrong) / 2).tanh() if of == "logits" else correct.exp() - wrong.exp()
    return margin.masked_fill(correct.isinf(), -1.0).masked_fill(answer_index < 0, torch.nan)


class Margin(Reward):
    """`margin_of` each rollout.

    Args:
        of: ``logits`` (paper, version 2) or ``probabilities`` (its figure 3).
    """

    def __init__(self, *, of: MarginOf = "logits") -> None:
        self.of = of

    def __call__(self, rollouts: Rollouts) -> Tensor:
        assert rollouts.option_log_probs is not None
        return margin_of(rollouts.option_log_probs, rollouts.answer_index[:, None], self.of)
