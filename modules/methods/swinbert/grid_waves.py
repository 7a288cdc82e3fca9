"""When and where a video token is, as numbers that mean the same on a grid of any size."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from modules.methods.swinbert.token_grid import TokenGrid

_NUM_FREQUENCIES = 8
NUM_WAVES = 3 * 2 * _NUM_FREQUENCIES
"""Numbers of a token."""


def waves(grid: TokenGrid) -> Tensor:
    """float32 (M, `NUM_WAVES`): sin(pi k u) and cos(pi k u) for k = 1 to 8 and each axis, u = (i + 1/2) / n in (0, 1).

    A moment of a clip has the same numbers whatever the number of its frames.
    """
    axes = []
    for size in grid:
        angles = math.pi * (torch.arange(size)[:, None] + 0.5) / size * torch.arange(1, _NUM_FREQUENCIES + 1)
        axes.append(torch.cat([angles.sin(), angles.cos()], 1))
    steps, rows, columns = grid
    whole = [
        axes[0][:, None, None].expand(steps, rows, columns, -1),
        axes[1][None, :, None].expand(steps, rows, columns, -1),
        axes[2][None, None, :].expand(steps, rows, columns, -1),
    ]
    return torch.cat(whole, -1).flatten(0, 2)
