"""From a loss of every position (N, L) to one number: TRL's loss types differ in little else.

Each takes loss (N, L), mask (N, L), the greatest length, and the number of active positions of the whole update.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor


def mean_of_sequences(loss: Tensor, mask: Tensor, max_length: int, num_items: Tensor) -> Tensor:
    """grpo, sapo: (1 / N) sum_n (1 / |n|) sum_l loss, the mean over each sequence, then over sequences."""
    return ((loss * mask).sum(-1) / mask.sum(-1).clamp(min=1.0)).mean()


def mean_of_positions(loss: Tensor, mask: Tensor, max_length: int, num_items: Tensor) -> Tensor:
    """bnpo: the mean over the positions of this batch."""
    return (loss * mask).sum() / mask.sum().clamp(min=1.0)


def constant_length(loss: Tensor, mask: Tensor, max_length: int, num_items: Tensor) -> Tensor:
    """dr_grpo: the sum over N x the greatest length, so that long answers are not discounted."""
    return (loss * mask).sum() / (loss.shape[0] * max_length)


def mean_of_window(loss: Tensor, mask: Tensor, max_length: int, num_items: Tensor) -> Tensor:
    """dapo, cispo: the sum over the active positions of the whole update, on all ranks and micro-batches.

    ``num_items`` is that count divided by the number of ranks (DDP averages gradients over ranks).
    """
    return (loss * mask).sum() / num_items.clamp(min=1.0)


@dataclass(frozen=True)
class Reduction:
    """A reduction, and what the loss of some of an update's sequences counts in that of all."""

    reduce: Callable[[Tensor, Tensor, int, Tensor], Tensor]
    share: Callable[[float, float], float]
    """From their fraction of the sequences and of the positions to the factor of their loss."""


BY_SEQUENCE = Reduction(mean_of_sequences, lambda sequences_frac, positions_frac: sequences_frac)
BY_POSITION = Reduction(mean_of_positions, lambda sequences_frac, positions_frac: positions_frac)
BY_LENGTH = Reduction(constant_length, lambda sequences_frac, positions_frac: sequences_frac)
BY_UPDATE = Reduction(mean_of_window, lambda sequences_frac, positions_frac: 1.0)
