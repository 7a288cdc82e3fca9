"""Frames as the backbone takes them: a square of one size, from anywhere in training and from the middle at test."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def square_crops(frames: Tensor, size_px: int, generator: torch.Generator | None = None) -> Tensor:
    """The frames of one clip, resized so that the shorter side is ``size_px``, and cut to a square of that side.

    Official code: the same; no flip, since captions say left and right.

    Args:
        frames: uint8 (T, 3, H, W).
        size_px: side of the square.
        generator: on the host, draws the place of the square, one for the whole clip; None takes the middle.

    Returns:
        uint8 (T, 3, size_px, size_px).
    """
    height, width = frames.shape[-2:]
    shorter = min(height, width)
    if shorter != size_px:
        resized = [max(size_px, round(side * size_px / shorter)) for side in (height, width)]
        shrinks = shorter > size_px
        pixels = functional.interpolate(
            frames.float(), size=resized, mode="bilinear", align_corners=False, antialias=shrinks
        )
        frames = pixels.round().clamp(0, 255).to(torch.uint8)
        height, width = resized
    spare = (height - size_px, width - size_px)
    if generator is None:
        top, left = spare[0] // 2, spare[1] // 2
    else:
        top, left = (int(torch.randint(0, s + 1, (), generator=generator)) for s in spare)
    return frames[..., top : top + size_px, left : left + size_px]
