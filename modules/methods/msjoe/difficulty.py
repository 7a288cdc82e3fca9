"""MSJoE's advantage in stage 1: a rollout against how often the MLLM solves the question anyway (arXiv 2602.22932)."""

from __future__ import annotations

import torch
from torch import Tensor

from modules.records import Rollouts
from modules.rl.advantages import Advantage


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
                "advantage needs: run recipes/data/pass_rates.yaml and name its file as data.filter.pass_rates"
            )
        c = torch.tensor(rates, dtype=torch.float32, device=reward.device).clamp(self.low, self.high)[:, None]
        return ((reward - c) / (c * (1 - c))).nan_to_num(0.0)
