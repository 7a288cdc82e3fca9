"""What a rollout is compared with: the others of its group, or how often the MLLM solves the question anyway."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from modules.grpo import group_advantages, nanstd
from modules.records import Rollouts


class Advantage(ABC):
    """Turns rewards into advantages."""

    @abstractmethod
    def __call__(self, rollouts: Rollouts, reward: Tensor) -> Tensor:
        """float32 (B, G) rewards, NaN where a rollout could not be judged -> (B, G)."""


class GroupNorm(Advantage):
    """A = (r - mean) / (std + 1e-4) of a question's rollouts (GRPO), and 0 where they hardly differ.

    A reward without steps is never quite the same twice, so that dividing by its spread would make a difference of
    nothing as loud as any other.

    Args:
        min_std: groups whose standard deviation (ddof 1) is below teach nothing.
    """

    def __init__(self, *, min_std: float = 1e-3) -> None:
        if min_std < 0:
            raise ValueError(f"min_std={min_std}: 0 or more")
        self.min_std = min_std

    def __call__(self, rollouts: Rollouts, reward: Tensor) -> Tensor:
        return group_advantages(reward).masked_fill(nanstd(reward, dim=1)[:, None] < self.min_std, 0.0)


class DifficultyAware(Advantage):
    """A = (r - c) / (c (1 - c)), c being the pass rate of the question: how often the MLLM solves it on uniform frames.

    For r of 0 or 1 that is 1/c where right and -1/(1 - c) where wrong (MSJoE's stage 1): rare successes count most, and
    one rollout a question would do, because the baseline needs no group. # paper: c = 0 gets 10 if right; here: c is
    kept within [low, high], which gives that 10, and -1.11 where it stays wrong.

    Args:
        low, high: bounds of c.
    """

    def __init__(self, *, low: float = 0.1, high: float = 0.9) -> None:
        if not 0 < low <= high < 1:
            raise ValueError(f"low={low}, high={high}: 0 < low <= high < 1")
        self.low, self.high = low, high

    def __call__(self, rollouts: Rollouts, reward: Tensor) -> Tensor:
        rates = [q.pass_rate for q in rollouts.batch.questions]
        if None in rates:
            missing = rollouts.batch.questions[rates.index(None)]
            raise ValueError(
                f"question {missing.sample_id} of {missing.dataset} has no pass rate, which a difficulty-aware "
                "advantage needs: run recipes/data/pass_rates.yaml and name its file as data.pass_rates"
            )
        c = torch.tensor(rates, dtype=torch.float32, device=reward.device).clamp(self.low, self.high)[:, None]
        return ((reward - c) / (c * (1 - c))).nan_to_num(0.0)
