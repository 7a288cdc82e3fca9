"""Qwen-VL's positions (M-RoPE), made on the host for a whole batch: time, height and width of every token.

Text counts on by one in all three. A video's tokens stand at the position where it begins plus their place in its grid,
time in steps of so many positions a grid. Where the text goes on behind it is what transformers' versions differ in:

- v4 (to 4.57): behind the video's largest position in any of the three, so that the question comes after the last
  frame. Published numbers were made with it.
- v5 (5.23): behind its height or width alone. 32 grids over an hour reach position 6 975, and a question that is put
  after them stands among the first.

transformers computes v5's row by row on the device, with several trips to the host a row.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor


def rope_positions(
    is_video: Tensor, attention_mask: Tensor, grids: Tensor, steps: Tensor, text_after: Literal["v4", "v5"]
) -> Tensor:
    """Positions of a left-padded batch.

    Args:
        is_video: bool (R, L), placeholders of video tokens; each run of them is one video (or one grid, where a family
            writes text between grids).
        attention_mask: int (R, L), 0 at padding.
        grids: int64 (V, 3), tokens in time, height and width of each run, in order.
        steps: float32 (V,), positions from one grid of a run to the next.
        text_after: whose rule.

    Returns:
        int64 (3, R, L), on the host; 0 at padding.
    """
    before = torch.nn.functional.pad(is_video, (1, 0))[:, :-1]
    behind = torch.nn.functional.pad(is_video, (0, 1))[:, 1:]
    offsets = [_offsets(grid, step) for grid, step in zip(grids.tolist(), steps, strict=True)]
    assert int((is_video & ~before).sum()) == len(offsets), "a grid for each run of video tokens"
    lengths = [int(o.max()) + 1 if text_after == "v4" else int(o[1:].max()) + 1 for o in offsets]
    text = (attention_mask.bool() & ~is_video).long()
    jumps = torch.zeros(is_video.shape, dtype=torch.int64)
    jumps[is_video & ~behind] = torch.tensor(lengths, dtype=torch.int64)
    # a token stands behind all text and all whole videos that came before it
    start = (text + jumps).cumsum(-1) - text - jumps
    positions = start.expand(3, -1, -1).clone()
    if offsets:
        positions[:, is_video] = _run_starts(start, is_video, before) + torch.cat(offsets, 1)
    return positions.masked_fill(attention_mask == 0, 0)


def _run_starts(start: Tensor, is_video: Tensor, before: Tensor) -> Tensor:
    """Where the run of each video token begins, (all video tokens,)."""
    first = is_video & ~before
    run = first.flatten().cumsum(0)[is_video.flatten()] - 1
    return start[first][run]


def _offsets(grid: list[int], step: Tensor) -> Tensor:
    """A run's own positions in time, height and width, (3, tokens); times are cut to whole numbers."""
    time, height, width = (torch.arange(size) for size in grid)
    return torch.stack(torch.meshgrid((time * step).long(), height, width, indexing="ij")).flatten(1)
