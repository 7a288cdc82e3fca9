"""Keys that a training's recipe had once, and what to write in their place; `recipes.launcher.check` says it.

Recorded recipes of whole runs are read as what they are now (`recipes.launcher.moved_keys`).
"""

from __future__ import annotations

import dataclasses

from modules.rl.comparison import Comparison
from modules.rl.optimization import Optimization
from modules.systems.answering_settings import AnsweringSettings

FORMER_KEYS: dict[str, str] = {
    "reward_weights": "a weight now stands beside its reward: rewards.NAME.weight, and rewards.NAME.mllm_weight, from "
    "which the MLLM learns under evolve: joint",
    "sampler_reward_weights": "a weight now stands beside its reward: rewards.NAME.weight",
    "advantage": "it is now grpo.advantage",
    "seed": "it is now grpo.seed",
    **{
        field.name: f"it is now {group}.{field.name}"
        for group, settings in (
            ("comparison", Comparison),
            ("optimizer", Optimization),
            ("answering", AnsweringSettings),
        )
        for field in dataclasses.fields(settings)
    },
}
