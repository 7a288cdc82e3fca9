"""The gradient steps of an update: the sampler's loss, and what the objective adds to it."""

from __future__ import annotations

from functools import partial
from typing import Any

import lightning as L
import torch
from torch import Tensor

from modules.rl.objective import Objective
from modules.rl.optimization import Optimization
from modules.rl.optimizer_step import OptimizerStep, optimizer_step_for
from modules.rl.selection_loss import SelectionLoss
from modules.rl.training_batch import TrainingBatch
from modules.rl.update_metrics import UpdateMetrics
from modules.selection.base import FrameSampler


class PolicyUpdate:
    """``num_iterations`` gradient steps on rolled out batches; the first reuses the policies that drew them.

    Args:
        sampler: that drew.
        selection_loss: what it learns from.
        objective: who else learns.
        num_iterations: gradient steps on the batches of an update.
        optimization: batches of an update, and what ends a run that diverges.
        metrics: gets what is worth watching.
    """

    def __init__(
        self,
        sampler: FrameSampler,
        selection_loss: SelectionLoss,
        objective: Objective,
        num_iterations: int,
        optimization: Optimization,
        metrics: UpdateMetrics,
    ) -> None:
        self.sampler, self.selection_loss, self.objective = sampler, selection_loss, objective
        self.num_iterations, self.optimization, self.metrics = num_iterations, optimization, metrics
        self.optimizer_step = OptimizerStep(optimization.max_grad_norm, optimization.max_nonfinite_steps)

    def settle(self, strategy: Any) -> None:
        """Makes and takes gradients in the way that a trainer's strategy asks for."""
        self.optimizer_step = optimizer_step_for(
            strategy, self.optimization.max_grad_norm, self.optimization.max_nonfinite_steps
        )

    def run(self, module: L.LightningModule, window: list[TrainingBatch]) -> None:
        """Takes the steps.

        Args:
            module: whose trainer, device and optimizer are used.
            window: the batches of the update.
        """
        num_picks = self._mean_over_ranks(module, sum(w.trajectories.sampler_selection.mask.sum() for w in window))
        num_tokens = self._mean_over_ranks(
            module, sum(completions.num_tokens for w in window for completions in w.trajectories.completions)
        )
        backward = partial(self.optimizer_step.backward, module)
        for iteration in range(self.num_iterations):
            losses = []
            for number, batch in enumerate(window, 1):
                policy_loss = partial(self.policy_loss, batch, num_picks, iteration > 0)
                last = number == len(window)
                losses.append(self.objective.backward(batch, num_tokens, policy_loss, backward, last))
            norms = self.optimizer_step.step(module, torch.stack([loss.detach() for loss in losses]).sum())
            names = {"sampler": "policy", "mllm": "tokens"}
            self.metrics.add({f"{names.get(group, group)}/grad_norm": norm for group, norm in norms.items()})

    @staticmethod
    def _mean_over_ranks(module: L.LightningModule, count: Tensor | int) -> Tensor:
        """The number of positions of an update as `modules.rl.reductions.mean_of_window` wants it, scalar."""
        whole = torch.as_tensor(count, device=module.device).float()
        return module.trainer.strategy.reduce(whole, reduce_op="mean")  # type: ignore[return-value]

    def policy_loss(self, batch: TrainingBatch, num_picks: Tensor, fresh: bool) -> Tensor:
        """The sampler's loss.

        Args:
            batch: of the update.
            num_picks: of the whole update, see `modules.rl.reductions.mean_of_window`.
            fresh: ask the sampler again.

        Returns:
            Scalar with graph: this batch's part of the update's loss.
        """
        trajectories = batch.trajectories
        policy = self.sampler.policies(trajectories.sampler_batch) if fresh else trajectories.policy
        return self.selection_loss.loss(batch, policy, num_picks, 1 / self.optimization.accumulate)
