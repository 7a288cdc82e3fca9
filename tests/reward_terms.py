"""Rewards as a recipe has them: each under a name, with its weights beside it."""

from __future__ import annotations

import re

from modules.rewards.base import Reward
from modules.rl.reward_sum import RewardTerm


def terms(*rewards: Reward, **weights: float) -> dict[str, RewardTerm]:
    """Terms of those weights (1 by default), under their classes' names: ``Accuracy()`` becomes ``accuracy``."""
    names = [re.sub(r"(?<!^)(?=[A-Z])", "_", type(reward).__name__).lower() for reward in rewards]
    return {name: RewardTerm(reward=reward, **weights) for name, reward in zip(names, rewards, strict=True)}
