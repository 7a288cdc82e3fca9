"""The losses of an update and their backward passes: GRPO on the sampler's draws and on what the MLLM said."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import lightning as L
import torch
from torch import Tensor

from modules.mllms.completions import Completions
from modules.rl.grpo import GRPO, grpo_loss
from modules.rl.optimizer_step import OptimizerStep
from modules.rl.reductions import mean_of_sequences
from modules.rl.rollout_phase import Trajectories
from modules.rl.token_training import TokenTraining
from modules.rl.update_metrics import UpdateMetrics
from modules.selection.base import FrameSampler


@dataclass(frozen=True)
class TrainingBatch:
    """A batch of an update, rolled out and rewarded."""

    trajectories: Trajectories
    token_advantages: Tensor
    """float32 (B, G), for what the MLLM has written."""
    selection_advantages: Tensor
    """float32 (B, G), for the frames that the sampler has drawn."""


class PolicyUpdate:
    """``num_iterations`` gradient steps on rolled out batches; the first reuses the policies that drew them.

    Args:
        sampler: that drew.
        untrained: the sampler as it was, the reference of ``beta``.
        token_training: how the MLLM is trained; None where it is not.
        settings: of the sampler's loss.
        accumulate: batches of an update.
        rows_per_forward: trajectories in one forward and backward of the MLLM.
        metrics: gets what is worth watching.
        optimizer_step: how gradients are made and stepped on; the trainer's strategy may ask for another.
    """

    def __init__(
        self,
        sampler: FrameSampler,
        untrained: FrameSampler,
        token_training: TokenTraining | None,
        settings: GRPO,
        accumulate: int,
        rows_per_forward: int,
        metrics: UpdateMetrics,
        optimizer_step: OptimizerStep,
    ) -> None:
        self.sampler, self.untrained, self.settings = sampler, untrained, settings
        self.token_training = token_training
        self.accumulate, self.rows_per_forward, self.metrics = accumulate, rows_per_forward, metrics
        self.optimizer_step = optimizer_step

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
        for iteration in range(self.settings.num_iterations):
            fresh = iteration > 0
            losses = []
            for number, batch in enumerate(window, 1):
                last = number == len(window)
                policy_loss = partial(
                    self.policy_loss, batch.trajectories, batch.selection_advantages, num_picks, fresh
                )
                if batch.trajectories.completions:
                    completions = batch.trajectories.completions
                    backward = partial(self.optimizer_step.backward, module)
                    losses.append(
                        self.token_backward(
                            completions, batch.token_advantages, num_tokens, policy_loss, backward, last
                        )
                    )
                else:
                    losses.append(policy_loss())
                    self.optimizer_step.backward(module, losses[-1], last)
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
        loss = result.loss * self.settings.share_of_update(1 / self.accumulate)
        if entropy is None:
            return loss
        bonus = mean_of_sequences(entropy, mask, 0, num_picks)
        return loss - self.settings.entropy_coef * bonus / self.accumulate

    def token_backward(
        self,
        completions: list[Completions],
        advantages: Tensor,
        num_tokens: Tensor,
        policy_loss: Callable[[], Tensor],
        backward: Callable[[Tensor, bool], None],
        last_batch: bool,
    ) -> Tensor:
        """Backward passes of what the MLLM has written, part by part, and with them the sampler's loss; the sum of all.

        The sampler's joins the last part.
        """
        assert self.token_training is not None
        rows, settings = self.rows_per_forward, self.token_training.settings
        weight = settings.loss_weight * self.token_training.grpo.share_of_update(1 / self.accumulate)
        num_rows = len(completions[0].rows)
        sums: dict[str, Tensor] = defaultdict(lambda: torch.zeros((), device=advantages.device))
        for start, part in zip(
            range(0, num_rows, rows),
            self.token_training.loss_parts(completions, advantages.flatten(), rows, num_tokens),
            strict=True,
        ):
            last = start + rows >= num_rows
            loss = weight * part.loss
            if last:
                loss = loss + policy_loss()
            backward(loss, last and last_batch)
            sums["with_sampler"] += loss.detach()
            share = min(rows, num_rows - start) / num_rows
            sums["loss"] += part.loss.detach()
            sums["ratio_clipped_frac"] += share * part.clipped_frac
            if part.kl_nats is not None:
                sums["kl_nats"] += share * part.kl_nats
        total = sums.pop("with_sampler")
        self.metrics.add({f"tokens/{name}": value for name, value in sums.items()})
        self.metrics.add({"tokens/length": sum(turn.num_tokens for turn in completions) / num_rows})
        return total
