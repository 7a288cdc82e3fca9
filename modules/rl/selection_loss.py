"""How a sampler learns from rolled out batches: from the rewards of its draws (GRPO), unless a method brings a loss.

A recipe chooses with one key, ``selection_loss``. Whatever it is, the same selections are drawn and answered, so that
the rewards of two ways to learn can be compared, and the same step clips, counts and shares gradients.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from modules.rl.grpo import GRPO, grpo_loss
from modules.rl.reductions import mean_of_sequences
from modules.rl.training_batch import TrainingBatch
from modules.rl.update_metrics import UpdateMetrics
from modules.selection.base import FrameSampler
from modules.selection.policies import FramePolicy
from modules.systems.answering import Answering


class SelectionLoss(ABC):
    """What the sampler of an `EvolutionModule` learns from."""

    def prepare(self, answering: Answering, metrics: UpdateMetrics) -> None:
        """Told before training what it will meet.

        Args:
            answering: who answers.
            metrics: gets what is worth watching.

        Raises:
            ValueError: it cannot learn from such answers.
        """
        self.answering, self.metrics = answering, metrics

    @abstractmethod
    def loss(self, batch: TrainingBatch, policy: FramePolicy, num_picks: Tensor, batch_share: float) -> Tensor:
        """The loss of one batch of an update.

        Args:
            batch: rolled out and rewarded.
            policy: of what the sampler was given in it, as the sampler is now, with graph.
            num_picks: of the whole update, see `modules.rl.reductions.mean_of_window`.
            batch_share: of a mean over the batches of the update.

        Returns:
            Scalar with graph: this batch's part of the update's loss.
        """


class GRPOSelectionLoss(SelectionLoss):
    """GRPO on the log-probabilities of the draws, less the entropy bonus.

    Args:
        settings: of the loss.
        untrained: the sampler as it was, the reference of ``beta``.
    """

    def __init__(self, settings: GRPO, untrained: FrameSampler) -> None:
        self.settings, self.untrained = settings, untrained

    def loss(self, batch: TrainingBatch, policy: FramePolicy, num_picks: Tensor, batch_share: float) -> Tensor:
        trajectories, advantages = batch.trajectories, batch.selection_advantages
        selection = trajectories.sampler_selection
        if self.settings.entropy_coef:
            log_probs, entropy = (x.flatten(0, 1) for x in policy.log_prob_and_entropy(selection.candidate_index))
        else:  # half the work for a policy that scores frames once
            log_probs, entropy = policy.log_prob(selection.candidate_index).flatten(0, 1), None
        mask = selection.mask.flatten(0, 1).to(log_probs)
        reference = None
        if self.settings.beta > 0:
            with torch.no_grad():
                untrained = self.untrained.policies(trajectories.sampler_batch)
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
        loss = result.loss * self.settings.share_of_update(batch_share)
        if entropy is None:
            return loss
        return loss - self.settings.entropy_coef * mean_of_sequences(entropy, mask, 0, num_picks) * batch_share
