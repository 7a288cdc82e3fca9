"""What an agent's looking costs: its calls, as a term with a weight of its own in the recipe."""

from __future__ import annotations

import torch
from torch import Tensor

from modules.records import Rollouts
from modules.rewards.base import Reward


class CallCost(Reward):
    """-(calls of all models in a trajectory); a weight of 0.01 makes a right answer worth a hundred of them.

    Calls that all trajectories of a question have in common, such as those of its coarse memory, are in it and cancel
    in advantages that are relative to the group.
    """

    needs_options = False

    def __call__(self, rollouts: Rollouts) -> Tensor:
        if rollouts.costs is None:
            raise ValueError(
                "nobody counts the calls of a rollout here, because the MLLM is asked once for each: this reward is "
                "for an agent (answering.agent)"
            )
        return -torch.tensor([[float(cost.calls) for cost in group] for group in rollouts.costs])
