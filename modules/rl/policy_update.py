"""The gradient steps of an update: GRPO on the sampler's draws, and what the objective adds to it."""

from __future__ import annotations

from functools import partial
from typing import Any

import lightning as L
import torch
from torch import Tensor

from modules.rl.grpo import GRPO, grpo_loss
from modules.rl.objective import Objective
from modules.rl.optimization import Optimization
from modules.rl.optimizer_step import OptimizerStep, optimizer_step_for
from modules.rl.reductions import mean_of_sequences
from modules.rl.rollout_phase import Trajectories
from modules.rl.training_batch import TrainingBatch
from modules.rl.update_metrics import UpdateMetrics
from modules.selection.base import FrameSampler


class PolicyUpdate:
    """``num_iterations`` gradient steps on rolled out batches; the first reuses the policies that drew them.

    Args:
        sampler: that drew.
        untrained: the sampler as it was, the reference of ``beta``.
        objective: who else learns.
        settings: of the sampler's loss.
        optimization: batches of an update, and what ends a run that diverges.
        metrics: gets what is worth watching.
    """

    def __init__(
        self,
        sampler: FrameSampler,
        untrained: FrameSampler,
        objective: Objective,
        settings: GRPO,
        optimization: Optimization,
        metrics: UpdateMetrics,
    ) -> None:
        self.sampler, self.untrained, self.settings = sampler, untrained, settings
        self.objective, self.optimization, self.metrics = objective, optimization, metrics
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
        for iteration in range(self.settings.num_iterations):
            losses = []
            for number, batch in enumerate(window, 1):
                policy_loss = partial(
                    self.policy_loss, batch.trajectories, batch.selection_advantages, num_picks, iteration > 0
                )
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

    def policy_loss(self, trajectories: Trajectories, advantages: Tensor, num_picks: Tensor, fresh: bool) -> Tensor:
        """GRPO loss of the draws, less the entropy bonus; the reference of ``beta`` is the untrained sampler.

        Args:
            trajectories: of one batch.
            advantages: (B, G).
            num_picks: of the whole update, see `modules.rl.reductions.mean_of_window`.
            fresh: ask the sampler again.

        Returns:
            Scalar with graph: this batch's part of the update's loss.
        """
        sampler_batch, selection = trajectories.sampler_batch, trajectories.sampler_selection
        policy = self.sampler.policies(sampler_batch) if fresh else trajectories.policy
        if self.settings.entropy_coef:
            log_probs, entropy = (x.flatten(0, 1) for x in policy.log_prob_and_entropy(selection.candidate_index))
        else:  # half the work for a policy that scores frames once
            log_probs, entropy = policy.log_prob(selection.candidate_index).flatten(0, 1), None
        mask = selection.mask.flatten(0, 1).to(log_probs)
        reference = None
        if self.settings.beta > 0:
            with torch.no_grad():
                untrained = self.untrained.policies(sampler_batch)
                reference = untrained.log_prob(selection.candidate_index).flatten(0, 1)
        result = grpo_loss(
            self.settings,
            log_probs,
            selection.log_probs.flatten(0, 1),
            advantages.flatten(),
            mask,
            ref_log_probs=reference,
            num_items=num_picks,
        )
        self.metrics.add({"policy/ratio_clipped_frac": result.clipped_frac, "train/loss": result.loss.detach()})
        if result.kl_nats is not None:
            self.metrics.add({"policy/kl_nats": result.kl_nats})
        loss = result.loss * self.settings.share_of_update(1 / self.optimization.accumulate)
        if entropy is None:
            return loss
        bonus = mean_of_sequences(entropy, mask, 0, num_picks)
        return loss - self.settings.entropy_coef * bonus / self.optimization.accumulate
