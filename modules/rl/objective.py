"""Who learns from the rollouts: the sampler alone, or the MLLM beside it.

A recipe chooses with one key, ``evolve``. Both objectives learn from the same trajectories; under ``joint`` an answer
is drawn for every selection, and the GRPO loss of all that the MLLM has written (`modules.rl.token_training`) joins the
sampler's.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from modules.mllms.base import MLLM
from modules.mllms.completions import Completions
from modules.rl.grpo import GRPO
from modules.rl.importance import importance_ratio
from modules.rl.optimization import Optimization
from modules.rl.reward_sum import Rewards, RewardSum, RewardTerm
from modules.rl.token_training import JointTraining, TokenTraining
from modules.rl.training_batch import TrainingBatch
from modules.rl.update_metrics import UpdateMetrics
from modules.systems.queries import QueryWriter

Evolve = Literal["sampler", "joint"]
Backward = Callable[[Tensor, bool], None]
"""The backward pass of a loss, and whether it is the last of its step."""


class Objective(ABC):
    """What is learnt from a rewarded rollout, and by whom."""

    reward_sum: RewardSum
    """Terms of the reward and their sums."""
    initial: MLLM | None = None
    """The MLLM as it was, where it is trained and a copy kept."""
    answer_temperature: float | None = None
    """At which answers are drawn, to be trained; None where they are not."""

    @abstractmethod
    def reward(self, rewards: Rewards) -> Tensor:
        """float32 (B, G): the sum that answers are credited with, and that is reported."""

    @abstractmethod
    def backward(
        self,
        batch: TrainingBatch,
        num_tokens: Tensor,
        policy_loss: Callable[[], Tensor],
        backward: Backward,
        last: bool,
    ) -> Tensor:
        """Makes the gradients of a batch.

        Args:
            batch: rolled out and rewarded.
            num_tokens: that the MLLM has written in the whole update, see `modules.rl.reductions.mean_of_window`.
            policy_loss: the sampler's, scalar with graph.
            backward: of a loss.
            last: whether the batch is the last of its step.

        Returns:
            The loss, scalar.
        """

    def parameter_groups(self) -> list[dict[str, Any]]:
        """What is trained beside the sampler, as groups of an optimizer."""
        return []

    def schedules(self, optimization: Optimization, max_steps: int | None) -> list[Callable[[int], float]]:
        """The schedules of those groups."""
        return []


class SamplerObjective(Objective):
    """The sampler learns; the MLLM stays as it is.

    Args:
        rewards: terms by name.
    """

    def __init__(self, rewards: Mapping[str, RewardTerm | None]) -> None:
        self.reward_sum = RewardSum(rewards, joint=False)

    def reward(self, rewards: Rewards) -> Tensor:
        return rewards.sampler

    def backward(
        self,
        batch: TrainingBatch,
        num_tokens: Tensor,
        policy_loss: Callable[[], Tensor],
        backward: Backward,
        last: bool,
    ) -> Tensor:
        loss = policy_loss()
        backward(loss, last)
        return loss


class JointObjective(Objective):
    """Both learn from the same trajectories.

    Args:
        rewards: terms by name.
        mllm: as it is when training begins; what will be trained of it gets gradients.
        settings: how it is trained.
        grpo: the sampler's update; what the settings do not say is taken from it.
        query_writer: whose queries are trained with the answers, if there is one.
        accumulate: batches of an update.
        rows_per_forward: trajectories in one forward and backward of the MLLM.
        metrics: gets what is worth watching.

    Raises:
        ValueError: queries are drawn at another temperature than both turns are trained at.
    """

    def __init__(
        self,
        rewards: Mapping[str, RewardTerm | None],
        *,
        mllm: MLLM,
        settings: JointTraining,
        grpo: GRPO,
        query_writer: QueryWriter | None,
        accumulate: int,
        rows_per_forward: int,
        metrics: UpdateMetrics,
    ) -> None:
        self.reward_sum = RewardSum(rewards, joint=True)
        if query_writer is not None and query_writer.temperature != settings.temperature:
            raise ValueError(
                f"queries are drawn at query_writer.temperature={query_writer.temperature} and trained at "
                f"joint.temperature={settings.temperature}: both turns are one sequence of one policy, so these have "
                "to be the same"
            )
        self.token_training, self.settings = TokenTraining(mllm, settings, grpo), settings
        self.initial, self.answer_temperature = self.token_training.initial, settings.temperature
        self.accumulate, self.rows_per_forward, self.metrics = accumulate, rows_per_forward, metrics

    def reward(self, rewards: Rewards) -> Tensor:
        return rewards.mllm

    def parameter_groups(self) -> list[dict[str, Any]]:
        return [self.token_training.parameter_group()]

    def schedules(self, optimization: Optimization, max_steps: int | None) -> list[Callable[[int], float]]:
        warmup_steps, freeze_steps = self.settings.warmup_steps, self.settings.freeze_steps
        return [optimization.schedule(max_steps, warmup_steps=warmup_steps, freeze_steps=freeze_steps)]

    def backward(
        self,
        batch: TrainingBatch,
        num_tokens: Tensor,
        policy_loss: Callable[[], Tensor],
        backward: Backward,
        last: bool,
    ) -> Tensor:
        """Of what the MLLM has written, part by part; the sampler's loss joins the last part."""
        completions, rows = batch.trajectories.completions, self.rows_per_forward
        advantages = batch.token_advantages.flatten()
        weight = self.settings.loss_weight * self.token_training.grpo.share_of_update(1 / self.accumulate)
        num_rows = len(completions[0].rows)
        sums: dict[str, Tensor] = defaultdict(lambda: torch.zeros((), device=advantages.device))
        total = torch.zeros((), device=advantages.device)
        parts = self.token_training.loss_parts(completions, advantages, rows, num_tokens)
        for start, part in zip(range(0, num_rows, rows), parts, strict=True):
            last_part = start + rows >= num_rows
            loss = weight * part.loss
            if last_part:
                loss = loss + policy_loss()
            backward(loss, last_part and last)
            total += loss.detach()
            share = min(rows, num_rows - start) / num_rows
            sums["loss"] += part.loss.detach()
            sums["ratio_clipped_frac"] += share * part.clipped_frac
            if part.kl_nats is not None:
                sums["kl_nats"] += share * part.kl_nats
        self._watch(completions, sums)
        return total

    def _watch(self, completions: list[Completions], sums: Mapping[str, Tensor]) -> None:
        self.metrics.add({f"tokens/{name}": value for name, value in sums.items()})
        if (ratio := importance_ratio(completions)) is not None:
            self.metrics.add({"tokens/importance_mean": ratio.mean(), "tokens/importance_max": ratio.max()})
        self.metrics.add({"tokens/length": sum(turn.num_tokens for turn in completions) / len(completions[0].rows)})


def objective_of(evolve: Evolve, rewards: Mapping[str, RewardTerm | None], **joint: Any) -> Objective:
    """The objective that a recipe's key names; ``joint`` are the other arguments of `JointObjective`."""
    return SamplerObjective(rewards) if evolve == "sampler" else JointObjective(rewards, **joint)
