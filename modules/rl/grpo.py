"""The GRPO step as pure functions, one a concept; names and defaults are TRL's (1.16), its trainer the test oracle.

Everything works on *sequences*: for a sampler the K picks of a rollout, for an MLLM the L tokens of an answer. Shapes
are (N, L) with N = B x G sequences; masks are 1 where a position counts.

A note on ``exp(logp - logp.detach())``: with one update per rollout the old policy is the current one, the ratio is 1
and the loss value is about zero (advantages of a group sum to zero), yet its gradient is the policy gradient
``-A grad logp``. Read rewards, not the loss.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

ADVANTAGE_EPS = 1e-4


# ---- rewards to advantages ----


def nanstd(values: Tensor, dim: int | None = None) -> Tensor:
    """Standard deviation (ddof 1) of the values that are not NaN, of all or along a dimension; NaN for fewer than two.

    As TRL's helper of that name, whose module takes 3.5 s and 90 MiB to import (datasets, pandas, peft).
    """
    count = (~values.isnan()).sum(dim)
    squares = (values - values.nanmean(dim, keepdim=True)).square().nansum(dim)
    return (squares / (count - 1)).sqrt().masked_fill(count < 2, torch.nan)


def group_advantages(rewards: Tensor, scale_rewards: Literal["group", "batch", "none"] = "group") -> Tensor:
    """Advantages A = (r - mean) / (std + 1e-4) over the G rollouts of a question.

    Args:
        rewards: (B, G); NaN where a rollout could not be judged.
        scale_rewards: std (ddof 1) of the group, of the whole batch, or no scaling.

    Returns:
        (B, G), 0 where the reward is NaN or the whole group is alike.
    """
    if rewards.ndim != 2:
        raise ValueError(f"rewards must be (B, G), not {tuple(rewards.shape)}")
    advantages = rewards - rewards.nanmean(dim=1, keepdim=True)
    if scale_rewards == "group":
        advantages = advantages / (nanstd(rewards, dim=1).unsqueeze(1) + ADVANTAGE_EPS)
    elif scale_rewards == "batch":
        advantages = advantages / (nanstd(rewards) + ADVANTAGE_EPS)
    return advantages.nan_to_num(0.0)


def zero_std(rewards: Tensor) -> Tensor:
    """bool (B,): groups whose rollouts all got the same reward, which teach nothing."""
    high = rewards.nan_to_num(-torch.inf).amax(1)
    low = rewards.nan_to_num(torch.inf).amin(1)
    return (high - low).abs() < 1e-8


# ---- importance ratio ----


def token_log_ratio(log_probs: Tensor, old_log_probs: Tensor, mask: Tensor) -> Tensor:
    """log pi/pi_old of every position, (N, L)."""
    return log_probs - old_log_probs


def sequence_log_ratio(log_probs: Tensor, old_log_probs: Tensor, mask: Tensor) -> Tensor:
    """Mean log-ratio of the sequence (GSPO), (N, 1)."""
    return (((log_probs - old_log_probs) * mask).sum(-1) / mask.sum(-1).clamp(min=1.0)).unsqueeze(-1)


def k3_kl(log_probs: Tensor, ref_log_probs: Tensor) -> Tensor:
    """Schulman's k3 estimate of KL(pi || ref): exp(d) - d - 1 with d = log ref - log pi; (N, L), >= 0."""
    difference = ref_log_probs - log_probs
    return difference.exp() - difference - 1


# ---- per-position objectives ----


class Objective(ABC):
    """Per-position loss from ratio and advantage."""

    @abstractmethod
    def __call__(self, ratio: Tensor, advantages: Tensor, log_probs: Tensor) -> Tensor:
        """ratio (N, L) or (N, 1), advantages (N, 1), log_probs (N, L) -> loss (N, L) or (N, 1)."""

    @abstractmethod
    def clipped(self, ratio: Tensor, advantages: Tensor) -> Tensor:
        """bool, where clipping takes the gradient away (or caps it)."""


@dataclass(frozen=True)
class Clipped(Objective):
    """PPO's -min(r A, clip(r, 1 - epsilon, 1 + epsilon_high) A); with ``delta`` r is also capped (two-sided)."""

    epsilon: float = 0.2
    epsilon_high: float | None = None
    delta: float | None = None

    @property
    def _high(self) -> float:
        return self.epsilon if self.epsilon_high is None else self.epsilon_high

    def __call__(self, ratio: Tensor, advantages: Tensor, log_probs: Tensor) -> Tensor:
        clipped = ratio.clamp(1 - self.epsilon, 1 + self._high)
        capped = ratio if self.delta is None else ratio.clamp(max=self.delta)
        return -torch.min(capped * advantages, clipped * advantages)

    def clipped(self, ratio: Tensor, advantages: Tensor) -> Tensor:
        low = (ratio < 1 - self.epsilon) & (advantages < 0)
        return low | ((ratio > 1 + self._high) & (advantages > 0))


@dataclass(frozen=True)
class CISPO(Objective):
    """-sg(min(r, epsilon_high)) A log pi (MiniMax-M1): the weight is capped, the gradient always flows."""

    epsilon_high: float = 5.0

    def __call__(self, ratio: Tensor, advantages: Tensor, log_probs: Tensor) -> Tensor:
        return -ratio.clamp(max=self.epsilon_high).detach() * advantages * log_probs

    def clipped(self, ratio: Tensor, advantages: Tensor) -> Tensor:
        return (ratio > self.epsilon_high) & (advantages > 0)


@dataclass(frozen=True)
class SAPO(Objective):
    """-(4 / t) sigmoid(t (r - 1)) A, t by the sign of A: a soft gate in place of the hard clip."""

    temperature_pos: float = 1.0
    temperature_neg: float = 1.05

    def __call__(self, ratio: Tensor, advantages: Tensor, log_probs: Tensor) -> Tensor:
        temperature = torch.where(advantages > 0, self.temperature_pos, self.temperature_neg)
        return -(temperature * (ratio - 1)).sigmoid() * 4 / temperature * advantages

    def clipped(self, ratio: Tensor, advantages: Tensor) -> Tensor:
        return torch.zeros_like(ratio, dtype=torch.bool)


# ---- reductions ----


def mean_of_sequences(loss: Tensor, mask: Tensor, max_length: int, num_items: Tensor) -> Tensor:
    """grpo, sapo: mean over each sequence, then over sequences."""
    return ((loss * mask).sum(-1) / mask.sum(-1).clamp(min=1.0)).mean()


def mean_of_positions(loss: Tensor, mask: Tensor, max_length: int, num_items: Tensor) -> Tensor:
    """bnpo: mean over the positions of this batch."""
    return (loss * mask).sum() / mask.sum().clamp(min=1.0)


def constant_length(loss: Tensor, mask: Tensor, max_length: int, num_items: Tensor) -> Tensor:
    """dr_grpo: sum over N x the greatest length, so that long answers are not discounted."""
    return (loss * mask).sum() / (loss.shape[0] * max_length)


def mean_of_window(loss: Tensor, mask: Tensor, max_length: int, num_items: Tensor) -> Tensor:
    """dapo, cispo: sum over the active positions of the whole update, on all ranks and micro-batches.

    ``num_items`` is that count divided by the number of ranks (DDP averages gradients over ranks).
    """
    return (loss * mask).sum() / num_items.clamp(min=1.0)


# ---- one loss ----

LossType = Literal["grpo", "bnpo", "dr_grpo", "dapo", "cispo", "sapo"]
_REDUCTIONS = {
    "grpo": mean_of_sequences,
    "sapo": mean_of_sequences,
    "bnpo": mean_of_positions,
    "dr_grpo": constant_length,
    "dapo": mean_of_window,
    "cispo": mean_of_window,
}
_LOG_RATIOS = {"token": token_log_ratio, "sequence": sequence_log_ratio}


@dataclass(frozen=True, kw_only=True)
class GRPO:
    """Everything that defines a GRPO update; checks itself.

    Args:
        num_generations: G, rollouts per question.
        num_iterations: updates per batch of rollouts (mu).
        loss_type: as in TRL.
        importance_sampling_level: ratio of each position or of the whole sequence (GSPO).
        epsilon, epsilon_high, delta: clip range below and above 1, and a cap of the ratio; ``epsilon_high`` None takes
            ``epsilon`` (cispo: 5.0).
        scale_rewards: what advantages are divided by.
        beta: weight of KL to the reference policy (0: no reference).
        use_bias_correction_kl: multiply the KL by the importance ratio, as TRL does by default.
        entropy_coef: weight of the entropy bonus.
        sapo_temperature_pos, sapo_temperature_neg: of the soft gate.
    """

    num_generations: int = 8
    num_iterations: int = 1
    loss_type: LossType = "dapo"
    importance_sampling_level: Literal["token", "sequence"] = "token"
    epsilon: float = 0.2
    epsilon_high: float | None = None
    delta: float | None = None
    scale_rewards: Literal["group", "batch", "none"] = "group"
    beta: float = 0.0
    use_bias_correction_kl: bool = True
    entropy_coef: float = 0.0
    sapo_temperature_pos: float = 1.0
    sapo_temperature_neg: float = 1.05

    def __post_init__(self) -> None:
        if self.num_generations < 2:
            raise ValueError(f"num_generations={self.num_generations}: a group needs at least 2 rollouts to compare")
        if self.num_iterations < 1:
            raise ValueError(f"num_iterations={self.num_iterations}: at least 1")
        if not 0 < self.epsilon < 1:
            raise ValueError(f"epsilon={self.epsilon}: between 0 and 1")
        if self.epsilon_high is not None and self.epsilon_high <= 0:
            raise ValueError(f"epsilon_high={self.epsilon_high}: above 0")
        if self.beta < 0:
            raise ValueError(f"beta={self.beta}: 0 or more")

    def share_of_update(self, share: float) -> float:
        """What a batch's loss counts in the whole update's.

        Args:
            share: of the batch in the update, if its loss is a mean over itself.

        Returns:
            ``share``; or 1 where the loss is a sum over the positions of the whole update already.
        """
        return 1.0 if _REDUCTIONS[self.loss_type] is mean_of_window else share

    @property
    def objective(self) -> Objective:
        if self.loss_type == "cispo":
            return CISPO(5.0 if self.epsilon_high is None else self.epsilon_high)
        if self.loss_type == "sapo":
            return SAPO(self.sapo_temperature_pos, self.sapo_temperature_neg)
        return Clipped(self.epsilon, self.epsilon_high, self.delta)


@dataclass(frozen=True)
class GRPOLoss:
    """A loss with what is worth watching about it."""

    loss: Tensor
    """Scalar, with graph."""
    clipped_frac: Tensor
    kl_nats: Tensor | None


def grpo_loss(
    config: GRPO,
    log_probs: Tensor,
    old_log_probs: Tensor,
    advantages: Tensor,
    mask: Tensor,
    *,
    ref_log_probs: Tensor | None = None,
    max_length: int | None = None,
    num_items: Tensor | None = None,
) -> GRPOLoss:
    """The loss of N sequences.

    ``L = reduce( objective(ratio, A) + beta * k3 [* ratio] )``; the entropy bonus is added by the caller, who knows
    the entropy of its policy.

    Args:
        config: what to compute.
        log_probs: (N, L) under the current policy, with graph.
        old_log_probs: (N, L) when the sequences were drawn.
        advantages: (N,).
        mask: (N, L), 1 where a position counts.
        ref_log_probs: (N, L) under the reference policy; needed when ``beta`` is above 0.
        max_length: for dr_grpo; L by default.
        num_items: for dapo and cispo, see `mean_of_window`; the active positions of this batch by default.

    Returns:
        The loss and its diagnostics.
    """
    if not log_probs.shape == old_log_probs.shape == mask.shape or advantages.shape != log_probs.shape[:1]:
        raise ValueError(
            f"log_probs {tuple(log_probs.shape)}, old_log_probs {tuple(old_log_probs.shape)} and mask "
            f"{tuple(mask.shape)} must be (N, L), advantages {tuple(advantages.shape)} must be (N,)"
        )
    mask, weight = mask.to(log_probs), advantages.unsqueeze(1)
    ratio = _LOG_RATIOS[config.importance_sampling_level](log_probs, old_log_probs, mask).exp()
    per_position = config.objective(ratio, weight, log_probs)
    kl = None
    if config.beta > 0:
        if ref_log_probs is None:
            raise ValueError(f"beta={config.beta} needs the reference policy's log-probabilities")
        divergence = k3_kl(log_probs, ref_log_probs)
        if config.use_bias_correction_kl:
            divergence = divergence * ratio
        per_position = per_position + config.beta * divergence
        kl = mean_of_positions(divergence.detach(), mask, 0, mask.sum())
    length = log_probs.shape[1] if max_length is None else max_length
    items = mask.sum() if num_items is None else num_items
    loss = _REDUCTIONS[config.loss_type](per_position, mask, length, items)
    clipped = config.objective.clipped(ratio.detach(), weight).to(mask).expand_as(mask)
    return GRPOLoss(loss, mean_of_positions(clipped, mask, 0, items), kl)
