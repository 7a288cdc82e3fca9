"""Masked language modelling of captions as SwinBERT does it (section 3.3; official ``caption_tensorizer.py``)."""

from __future__ import annotations

import torch
from torch import Tensor

IGNORED = -100
"""A target that no loss is taken of."""


def mask_words(
    ids: Tensor,
    lengths: Tensor,
    *,
    mask_id: int,
    word_ids: Tensor,
    share: float,
    at_most: int,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Hides some of the tokens of each caption.

    ``min(max(round(share * length), 1), at_most)`` tokens of a caption are drawn from all but the first; the end token
    is one of them, since it says where a caption ends. Of those 80 % become the mask token, 10 % another word, and
    10 % stay.

    Args:
        ids: int64 (B, N) on the host: start, words, end, padding.
        lengths: int64 (B,), with start and end.
        mask_id: the mask token.
        word_ids: int64 (V,), the words that a token may be replaced by.
        share: of the tokens.
        at_most: so many in a caption.
        generator: on the host.

    Returns:
        The tokens as they are read, and the targets, `IGNORED` where nothing was hidden; int64 (B, N) each.
    """
    places = torch.arange(ids.shape[1])[None]
    free = (places > 0) & (places < lengths[:, None])
    counts = (share * lengths).round().long().clamp(1, at_most)
    order = torch.rand(ids.shape, generator=generator).masked_fill(~free, 2.0).argsort(1).argsort(1)
    hidden = (order < counts[:, None]) & free
    dice = torch.rand(ids.shape, generator=generator)
    words = word_ids[torch.randint(0, len(word_ids), ids.shape, generator=generator)]
    seen = torch.where(hidden & (dice < 0.8), mask_id, ids)
    seen = torch.where(hidden & (dice >= 0.8) & (dice < 0.9), words, seen)
    return seen, ids.masked_fill(~hidden, IGNORED)
