"""What a rollout is compared with: the others of its group, or what a method brings."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor

from modules.records import Rollouts
from modules.rl.grpo import group_advantages, nanstd


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
