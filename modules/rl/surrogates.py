"""What a position of a sequence costs, given the ratio r = pi / pi_old and the advantage A: one pure function a loss.

Each takes ratio (N, L) or (N, 1), advantages (N, 1) and log_probs (N, L), and returns the loss, (N, L) or (N, 1), and a
bool of the ratio's shape: where the gradient was taken away, or capped.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Surrogate = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


def ppo(
    ratio: Tensor,
    advantages: Tensor,
    log_probs: Tensor,
    *,
    epsilon_low: float,
    epsilon_high: float,
    delta: float | None,
) -> tuple[Tensor, Tensor]:
    """-min(r A, clip(r, 1 - epsilon_low, 1 + epsilon_high) A); with ``delta`` r is min(r, delta) in the first term."""
    clipped = ratio.clamp(1 - epsilon_low, 1 + epsilon_high)
    capped = ratio if delta is None else ratio.clamp(max=delta)
    too_low = (ratio < 1 - epsilon_low) & (advantages < 0)
    too_high = (ratio > 1 + epsilon_high) & (advantages > 0)
    return -torch.min(capped * advantages, clipped * advantages), too_low | too_high


def cispo(ratio: Tensor, advantages: Tensor, log_probs: Tensor, *, epsilon_high: float) -> tuple[Tensor, Tensor]:
    """-sg(min(r, epsilon_high)) A log pi (MiniMax-M1): the weight is capped, the gradient always flows."""
    loss = -ratio.clamp(max=epsilon_high).detach() * advantages * log_probs
    return loss, (ratio > epsilon_high) & (advantages > 0)


def sapo(
    ratio: Tensor, advantages: Tensor, log_probs: Tensor, *, temperature_pos: float, temperature_neg: float
) -> tuple[Tensor, Tensor]:
    """-(4 / t) sigmoid(t (r - 1)) A, t by the sign of A: a soft gate in place of the hard clip; nothing is clipped."""
    temperature = torch.where(advantages > 0, temperature_pos, temperature_neg)
    loss = -(temperature * (ratio - 1)).sigmoid() * 4 / temperature * advantages
    return loss, torch.zeros_like(ratio, dtype=torch.bool)
