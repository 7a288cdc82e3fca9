"""Evenly spaced positions: the one formula that every rule, preview and job uses which wants some of many frames.

Position ``i`` of ``count`` among ``total`` is the middle of the i-th of ``count`` equal parts,
``floor((i + 1/2) * total / count)``, computed as ``(2 i + 1) * total // (2 * count)`` in integers, so it does not
depend on the precision of a division. No position comes twice while ``count <= total``, and neither end is favoured.

Rules that were published with another formula keep theirs and say so where they stand: TSPO's needles and bin centres
(ends included), the candidate grid (in seconds).
"""

from __future__ import annotations

import torch
from torch import Tensor


def evenly_spaced(total: int, count: int) -> Tensor:
    """``count`` of ``total`` positions, at the middles of equal parts.

    Args:
        total: how many there are to choose from.
        count: how many to choose; where it exceeds ``total``, positions repeat.

    Returns:
        int64 (count,), increasing, each in ``[0, total)``; e.g. ``evenly_spaced(10, 3) == [1, 5, 8]``.
    """
    return (2 * torch.arange(count) + 1) * total // (2 * count)


def evenly_spaced_rows(totals: Tensor, count: int) -> Tensor:
    """As `evenly_spaced`, of several totals at once; all positions of a total that has fewer than ``count``.

    Args:
        totals: int64 (B,).
        count: K.

    Returns:
        int64 (B, K) on the device of ``totals``, increasing, then -1 where a total has fewer than K.
    """
    total, step = totals[:, None], torch.arange(count, device=totals.device)
    middles = (2 * step + 1) * total // (2 * count)
    return torch.where(total >= count, middles, step.where(step < total, -1))


def spread_order(count: int) -> list[int]:
    """``count`` positions in an order whose every beginning lies spread out over them: by their bits backwards.

    E.g. ``spread_order(4) == [0, 2, 1, 3]``.
    """
    bits = max(1, (count - 1).bit_length())
    return sorted(range(count), key=lambda n: int(f"{n:0{bits}b}"[::-1], 2))
