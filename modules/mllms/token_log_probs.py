"""Log-probabilities of given tokens out of hidden states, with the logits of a few tokens at a time.

A vocabulary is wide: 2 000 tokens of 152 000 logits are 1.2 GB in float32, and softmax and its gradient want several
such tensors. Here the output head, the softmax and the choice of the token are one *piece* of work over so many tokens
as give ``LOGITS_PER_PIECE`` logits; its logits are forgotten and computed again in the backward pass. The head is a
module that is called, not a weight that is read, so that it may be sharded or adapted.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

LOGITS_PER_PIECE = 2**24
"""64 MiB of float32: 110 tokens of 152 000 logits."""


def token_log_probs(
    head: nn.Module,
    hidden: Tensor,
    token_ids: Tensor,
    shaped: Callable[[Tensor], Tensor],
    vocab_size: int,
) -> Tensor:
    """Log-probabilities (nats) of N tokens, with graph.

    Args:
        head: hidden states (N, D) -> logits (N, V).
        hidden: (N, D), of the positions that the tokens are predicted from.
        token_ids: int64 (N,).
        shaped: float32 logits (N, V) -> those of the distribution that is asked about.
        vocab_size: V.

    Returns:
        float32 (N,).
    """

    def piece(hidden: Tensor, token_ids: Tensor) -> Tensor:
        return shaped(head(hidden).float()).log_softmax(-1).gather(-1, token_ids[:, None])[:, 0]

    size = max(1, LOGITS_PER_PIECE // vocab_size)
    parts = [
        checkpoint(piece, h, ids, use_reentrant=False, preserve_rng_state=False)
        for h, ids in zip(hidden.split(size), token_ids.split(size), strict=True)
    ]
    return torch.cat(parts)


def answer_positions(lengths: list[int], sequence_length: int) -> tuple[Tensor, Tensor]:
    """Where the tokens of answers are predicted from, in left-padded sequences that end with them.

    Args:
        lengths: of R answers, N tokens in all.
        sequence_length: of every sequence.

    Returns:
        int64 (N,) rows, and int64 (N,) positions, one before each token.

    >>> answer_positions([2, 1], 5)
    (tensor([0, 0, 1]), tensor([2, 3, 3]))
    """
    rows = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths, dtype=torch.int64))
    positions = [torch.arange(sequence_length - 1 - n, sequence_length - 1) for n in lengths]
    return rows, torch.cat(positions)
