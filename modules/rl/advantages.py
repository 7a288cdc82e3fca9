"""What a rollout is compared with: the others of its group, or what a method brings."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from modules.records import Rollouts

ADVANTAGE_EPS = 1e-4
ScaleRewards = Literal["group", "batch", "none"]


def nanstd(values: Tensor, dim: int | None = None) -> Tensor:
    """Standard deviation (ddof 1) of the values that are not NaN, of all or along a dimension; NaN for fewer than two.

    As TRL's helper of that name, whose module takes 3.5 s and 90 MiB to import (datasets, pandas, peft).
    """
    count = (~values.isnan()).sum(dim)
    squares = (values - values.nanmean(dim, keepdim=True)).square().nansum(dim)
    return (squares / (count - 1)).sqrt().masked_fill(count < 2, torch.nan)


_SCALES: dict[str, Callable[[Tensor], Tensor | float]] = {
    "group": lambda rewards: nanstd(rewards, dim=1).unsqueeze(1) + ADVANTAGE_EPS,
    "batch": lambda rewards: nanstd(rewards) + ADVANTAGE_EPS,
    "none": lambda rewards: 1.0,
}


def group_advantages(rewards: Tensor, scale_rewards: ScaleRewards = "group") -> Tensor:
    """Advantages A = (r - mean) / (std + 1e-4) over the G rollouts of a question.

    Args:
        rewards: (B, G); NaN where a rollout could not be judged.
        scale_rewards: std (ddof 1) of the group, of the whole batch, or no scaling.

    Returns:
        (B, G), 0 where the reward is NaN or the whole group is alike.
    """
    if rewards.ndim != 2:
        raise ValueError(f"rewards must be (B, G), not {tuple(rewards.shape)}")
    advantages = rewards - rewards.nanmean(dim=1, keepdim=True)
    return (advantages / _SCALES[scale_rewards](rewards)).nan_to_num(0.0)


def zero_std(rewards: Tensor) -> Tensor:
    """bool (B,): groups whose rollouts all got the same reward, which teach nothing."""
    high = rewards.nan_to_num(-torch.inf).amax(1)
    low = rewards.nan_to_num(torch.inf).amin(1)
    return (high - low).abs() < 1e-8


class Advantage(ABC):
    """Turns rewards into advantages."""

    @abstractmethod
    def __call__(self, rollouts: Rollouts, reward: Tensor) -> Tensor:
        """float32 (B, G) rewards, NaN where a rollout could not be judged -> (B, G)."""


class GroupRelative(Advantage):
    """`group_advantages`, as GRPO has them.

    Args:
        scale_rewards: what the difference from the group's mean is divided by.
    """

    def __init__(self, *, scale_rewards: ScaleRewards = "group") -> None:
        self.scale_rewards = scale_rewards

    def __call__(self, rollouts: Rollouts, reward: Tensor) -> Tensor:
        return group_advantages(reward, self.scale_rewards)


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
