"""The GRPO step as pure functions, one a concept; names and defaults are TRL's (1.16), its trainer the test oracle.

Everything works on *sequences*: for a sampler the K picks of a rollout, for an MLLM the L tokens of an answer. Shapes
are (N, L) with N = B x G sequences; masks are 1 where a position counts.

A note on ``exp(logp - logp.detach())``: with one update per rollout the old policy is the current one, the ratio is 1
and the loss value is about zero (advantages of a group sum to zero), yet its gradient is the policy gradient
``-A grad logp``. Read rewards, not the loss.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

from torch import Tensor

from modules.rl.advantages import Advantage, GroupRelative, ScaleRewards
from modules.rl.reductions import BY_LENGTH, BY_POSITION, BY_SEQUENCE, BY_UPDATE, Reduction, mean_of_positions
from modules.rl.surrogates import Surrogate, cispo, ppo, sapo

LossType = Literal["grpo", "bnpo", "dr_grpo", "dapo", "cispo", "sapo"]
LogRatio = Callable[[Tensor, Tensor, Tensor], Tensor]


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


@dataclass(frozen=True, kw_only=True)
class GRPO:
    """Everything that defines a GRPO update; checks itself.

    Args:
        num_generations: G, rollouts per question.
        seed: of their draws.
        advantage: what a rollout is compared with; the others of its group by default.
        num_iterations: updates per batch of rollouts (mu).
        loss_type: as in TRL.
        importance_sampling_level: ratio of each position or of the whole sequence (GSPO).
        epsilon, epsilon_high, delta: clip range below and above 1, and a cap of the ratio; ``epsilon_high`` None takes
            ``epsilon`` (cispo: 5.0).
        scale_rewards: what advantages are divided by, by default; an ``advantage`` that is named has its own way.
        beta: weight of KL to the reference policy (0: no reference).
        use_bias_correction_kl: multiply the KL by the importance ratio, as TRL does by default.
        entropy_coef: weight of the entropy bonus.
        sapo_temperature_pos, sapo_temperature_neg: of the soft gate.
    """

    num_generations: int = 8
    seed: int = 0
    advantage: Advantage | None = None
    num_iterations: int = 1
    loss_type: LossType = "dapo"
    importance_sampling_level: Literal["token", "sequence"] = "token"
    epsilon: float = 0.2
    epsilon_high: float | None = None
    delta: float | None = None
    scale_rewards: ScaleRewards = "group"
    beta: float = 0.0
    use_bias_correction_kl: bool = True
    entropy_coef: float = 0.0
    sapo_temperature_pos: float = 1.0
    sapo_temperature_neg: float = 1.05
    advantage_of: Advantage = field(init=False, repr=False, compare=False)
    surrogate: Surrogate = field(init=False, repr=False, compare=False)
    reduction: Reduction = field(init=False, repr=False, compare=False)
    log_ratio: LogRatio = field(init=False, repr=False, compare=False)

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
        if self.loss_type not in _LOSSES:
            raise ValueError(f"loss_type={self.loss_type!r}: one of {', '.join(_LOSSES)}")
        surrogate, reduction = _LOSSES[self.loss_type]
        default = GroupRelative(scale_rewards=self.scale_rewards)
        object.__setattr__(self, "advantage_of", self.advantage or default)  # frozen: chosen here, once
        object.__setattr__(self, "surrogate", surrogate(self))
        object.__setattr__(self, "reduction", reduction)
        object.__setattr__(self, "log_ratio", _LOG_RATIOS[self.importance_sampling_level])

    def share_of_update(self, sequences_frac: float, positions_frac: float | None = None) -> float:
        """What the loss of some of an update's sequences counts in that of all.

        Args:
            sequences_frac: how many of the sequences they are.
            positions_frac: how many of the positions; as many by default, which is TRL's way with micro-batches.

        Returns:
            One of the two; or 1 where the loss is a sum over the positions of the whole update already.
        """
        return self.reduction.share(sequences_frac, sequences_frac if positions_frac is None else positions_frac)


def _ppo_of(config: GRPO) -> Surrogate:
    high = config.epsilon if config.epsilon_high is None else config.epsilon_high
    return partial(ppo, epsilon_low=config.epsilon, epsilon_high=high, delta=config.delta)


def _cispo_of(config: GRPO) -> Surrogate:
    return partial(cispo, epsilon_high=5.0 if config.epsilon_high is None else config.epsilon_high)


def _sapo_of(config: GRPO) -> Surrogate:
    return partial(sapo, temperature_pos=config.sapo_temperature_pos, temperature_neg=config.sapo_temperature_neg)


_LOG_RATIOS: dict[str, LogRatio] = {"token": token_log_ratio, "sequence": sequence_log_ratio}
_LOSSES: dict[str, tuple[Callable[[GRPO], Surrogate], Reduction]] = {
    "grpo": (_ppo_of, BY_SEQUENCE),
    "bnpo": (_ppo_of, BY_POSITION),
    "dr_grpo": (_ppo_of, BY_LENGTH),
    "dapo": (_ppo_of, BY_UPDATE),
    "cispo": (_cispo_of, BY_UPDATE),
    "sapo": (_sapo_of, BY_SEQUENCE),
}
"""TRL's name of a loss: what a position costs, and how positions become one number."""


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
    importance: Tensor | None = None,
    max_length: int | None = None,
    num_items: Tensor | None = None,
) -> GRPOLoss:
    """The loss of N sequences.

    ``L = reduce( w * surrogate(ratio, A) + beta * k3 [* ratio] )``; the entropy bonus is added by the caller, who knows
    the entropy of its policy.

    Args:
        config: what to compute.
        log_probs: (N, L) under the current policy, with graph.
        old_log_probs: (N, L) when the sequences were drawn.
        advantages: (N,).
        mask: (N, L), 1 where a position counts.
        ref_log_probs: (N, L) under the reference policy; needed when ``beta`` is above 0.
        importance: w, (N, L), of tokens that were not drawn from ``old_log_probs`` (`modules.rl.importance`); 1 by
            default.
        max_length: for dr_grpo; L by default.
        num_items: for dapo and cispo, see `modules.rl.reductions.mean_of_window`; by default the active positions of
            this batch.

    Returns:
        The loss and its diagnostics.
    """
    if not log_probs.shape == old_log_probs.shape == mask.shape or advantages.shape != log_probs.shape[:1]:
        raise ValueError(
            f"log_probs {tuple(log_probs.shape)}, old_log_probs {tuple(old_log_probs.shape)} and mask "
            f"{tuple(mask.shape)} must be (N, L), advantages {tuple(advantages.shape)} must be (N,)"
        )
    mask, weight = mask.to(log_probs), advantages.unsqueeze(1)
    ratio = config.log_ratio(log_probs, old_log_probs, mask).exp()
    per_position, clipped = config.surrogate(ratio, weight, log_probs)
    if importance is not None:
        per_position = per_position * importance
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
    loss = config.reduction.reduce(per_position, mask, length, items)
    return GRPOLoss(loss, mean_of_positions(clipped.to(mask).expand_as(mask), mask, 0, items), kl)
