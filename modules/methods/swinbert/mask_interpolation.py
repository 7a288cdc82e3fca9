"""A sparse mask of T steps for a clip of another number of steps.

The official code grows its mask by bilinear interpolation, and throws the result away; written back, it would break a
band into squares, since it interpolates along each axis of the matrix on its own. Here the two axes are the *distance*
between two tokens in time and the *middle* between them: a mask that depends on the distance alone depends on the
distance alone afterwards, and one that is constant stays constant.
"""

from __future__ import annotations

import torch
from torch import Tensor

from modules.methods.swinbert.token_grid import TokenGrid


def in_other_time(logits: Tensor, grid: TokenGrid, steps: int) -> Tensor:
    """The mask of a grid with other ``steps`` and the same rows and columns.

    Step i of the new grid lies at ``(i + 1/2) T / steps - 1/2`` of the old one. A pair of new steps has a distance d
    and a middle c there; its value is interpolated linearly between the diagonals floor(d) and floor(d) + 1, and on
    each diagonal along c. Places beyond either end take the value at that end.

    A token's link to itself is always open and its logit never learnt, so before interpolation it takes the mean of
    those to the same place one step before and behind.

    Args:
        logits: (M, M) of ``grid``.
        grid: of the logits.
        steps: of the result.

    Returns:
        (M', M') on the same device, with M' = steps * rows * columns.
    """
    old, place = grid.steps, grid.rows * grid.columns
    pairs = logits.reshape(old, place, old, place).permute(0, 2, 1, 3).clone()  # (T, T, P, P)
    same_place = pairs.diagonal(dim1=2, dim2=3)  # (T, T, P), a view
    for step in range(old if old > 1 else 0):
        beside = [other for other in (step - 1, step + 1) if 0 <= other < old]
        same_place[step, step] = same_place[step, beside].mean(0)
    times = (torch.arange(steps, dtype=torch.float64) + 0.5) * old / steps - 0.5
    first, second = times[:, None].expand(steps, steps), times[None].expand(steps, steps)
    distance = (second - first).clamp(1 - old, old - 1)
    middle, below = (first + second) / 2, distance.floor()
    share = (distance - below).to(pairs)[..., None, None]
    lower = _on_diagonal(pairs, below.long(), middle)
    upper = _on_diagonal(pairs, (below.long() + 1).clamp(max=old - 1), middle)
    grown = lower + share * (upper - lower)
    return grown.permute(0, 2, 1, 3).reshape(steps * place, steps * place)


def _on_diagonal(pairs: Tensor, diagonal: Tensor, middle: Tensor) -> Tensor:
    """Values at a middle of a diagonal (both (S, S)), between its two nearest pairs: (S, S, P, P)."""
    old = pairs.shape[0]
    low, high = (-diagonal).clamp(min=0), old - 1 - diagonal.clamp(min=0)  # first steps that the diagonal has
    step = (middle - diagonal / 2).clamp(min=low.double()).minimum(high.double())
    before = step.floor().long()
    behind = (before + 1).minimum(high)
    share = (step - before).to(pairs)[..., None, None]
    start, end = pairs[before, before + diagonal], pairs[behind, behind + diagonal]
    return start + share * (end - start)
