"""Settings of an `EvolutionModule` in few words: rewards under their names, and settings sorted into their groups."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

from modules.rewards.base import Reward
from modules.rl.comparison import Comparison
from modules.rl.evolution import EvolutionModule
from modules.rl.optimization import Optimization
from modules.rl.reward_sum import RewardTerm
from modules.rl.rollout_answering import RolloutAnswering


def terms(*rewards: Reward, **weights: float) -> dict[str, RewardTerm]:
    """Terms of those weights (1 by default), under their classes' names: ``Accuracy()`` becomes ``accuracy``."""
    names = [re.sub(r"(?<!^)(?=[A-Z])", "_", type(reward).__name__).lower() for reward in rewards]
    return {name: RewardTerm(reward=reward, **weights) for name, reward in zip(names, rewards, strict=True)}


def evolution(**settings: Any) -> EvolutionModule:
    """An `EvolutionModule`; settings that belong to ``optimizer``, ``answering`` or ``comparison`` go there."""
    for group, cls in (("optimizer", Optimization), ("answering", RolloutAnswering), ("comparison", Comparison)):
        names = {field.name for field in dataclasses.fields(cls)} & settings.keys()
        settings[group] = cls(**{name: settings.pop(name) for name in names})
    return EvolutionModule(**settings)
