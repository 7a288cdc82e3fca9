"""Which text tokens see which, where a text is read in one pass."""

from __future__ import annotations

import torch
from torch import Tensor


def causal(num_tokens: int) -> Tensor:
    """bool (N, N): each token sees itself and those before."""
    return torch.ones(num_tokens, num_tokens, dtype=torch.bool).tril()


def words_and_masks(num_tokens: int) -> Tensor:
    """bool (2 N, 2 N) of N words followed by N mask tokens, one for each of their places.

    A word sees itself and those before. The mask token of a place sees the words before that place and itself, which is
    what it sees when a caption is written word by word: one pass gives the probability of every word of a caption.
    """
    words, own = causal(num_tokens), torch.eye(num_tokens, dtype=torch.bool)
    return torch.cat(
        [torch.cat([words, torch.zeros_like(own)], 1), torch.cat([words & ~own, own], 1)],
    )
