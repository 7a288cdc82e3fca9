"""A stack of GRUs with residual connections: the smallest backbone, for one vector a frame."""

from __future__ import annotations

from jsonargparse.typing import PositiveInt
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from modules.backbones.base import SequenceBackbone, State


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
        return self._read(x, None if bool((lengths == x.shape[1]).all()) else lengths.cpu(), state)

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        hidden, after = self._read(x[:, None], None, state)
        return hidden[:, 0], after

    def parallel(self, x: Tensor, state: State) -> Tensor:
        return self._read(x, None, state)[0]

    def _read(self, x: Tensor, lengths: Tensor | None, state: State | None) -> tuple[Tensor, State]:
        """Lengths on the host, where rows have padding."""
        after = []
        for number, (layer, norm) in enumerate(zip(self.layers, self.norms, strict=True)):
            before = None if state is None else state[number][None].contiguous()
            normed = norm(x)
            if lengths is None:
                out, last = layer(normed, before)
            else:
                packed = pack_padded_sequence(normed, lengths, batch_first=True, enforce_sorted=False)
                out, last = layer(packed, before)
                out, _ = pad_packed_sequence(out, batch_first=True, total_length=x.shape[1])
            x = x + out
            after.append(last[0])
        return self.final_norm(x), tuple(after)
