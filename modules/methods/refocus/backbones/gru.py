"""A stack of GRUs with residual connections: the smallest backbone, for one vector a frame."""

from __future__ import annotations

import torch
from jsonargparse.typing import PositiveInt
from torch import Tensor, nn

from modules.methods.refocus.backbones.base import SequenceBackbone, State


class GRUBackbone(SequenceBackbone):
    """``x <- x + GRU(norm(x))`` a layer, then a norm.

    Args:
        width: d.
        num_layers: of GRUs.
    """

    def __init__(self, *, width: PositiveInt = 64, num_layers: PositiveInt = 1) -> None:
        super().__init__()
        self.width = width
        self.layers = nn.ModuleList(nn.GRU(width, width, batch_first=True) for _ in range(num_layers))
        self.norms = nn.ModuleList(nn.RMSNorm(width) for _ in range(num_layers))
        self.final_norm = nn.RMSNorm(width)

    def prefill(self, x: Tensor, lengths: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        return self._read(x, lengths, state)

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        hidden, after = self._read(x[:, None], None, state)
        return hidden[:, 0], after

    def parallel(self, x: Tensor, state: State) -> Tensor:
        return self._read(x, None, state)[0]

    def _read(self, x: Tensor, lengths: Tensor | None, state: State | None) -> tuple[Tensor, State]:
        """Reads on to the end, or to where each row's real vectors end."""
        if lengths is None:
            lengths = torch.full(x.shape[:1], x.shape[1], device=x.device)
        end = (lengths - 1)[:, None, None].expand(-1, 1, self.width)
        after = []
        for number, (layer, norm) in enumerate(zip(self.layers, self.norms, strict=True)):
            before = None if state is None else state[number][None].contiguous()
            out, _ = layer(norm(x), before)
            # a GRU's state is what it puts out, and padding comes behind all that is real
            after.append(out.gather(1, end)[:, 0])
            x = x + out
        return self.final_norm(x), tuple(after)
