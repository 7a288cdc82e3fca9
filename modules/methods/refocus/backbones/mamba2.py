"""Mamba-2 from transformers: pure torch on a CPU, its kernels on a GPU where they are installed.

Its own cache is filled in place, which a graph does not survive, and knows nothing of branches; so the mixers are given
one here that puts new tensors in the place of old ones.
"""

from __future__ import annotations

from typing import Any

import torch
from jsonargparse.typing import PositiveInt
from torch import Tensor, nn
from transformers import Mamba2Config, Mamba2Model

from modules.files.hub import fetching
from modules.files.model_files import WEIGHTS_AS_DATA, as_data
from modules.files.paths import ModelPath
from modules.methods.refocus.backbones.base import SequenceBackbone, State


class _Carried:
    """What a mixer asks of a cache: the last inputs of its convolution and the state of its recurrence."""

    def __init__(self, num_layers: int, state: State | None) -> None:
        self.conv: list[Tensor | None] = [None] * num_layers if state is None else list(state[0].unbind(1))
        self.recurrent: list[Tensor | None] = [None] * num_layers if state is None else list(state[1].unbind(1))

    def state(self) -> State:
        return torch.stack(self.conv, 1), torch.stack(self.recurrent, 1)  # type: ignore[arg-type]

    def get_conv_state(self, layer_idx: int, state_idx: int = 0) -> Tensor | None:
        return self.conv[layer_idx]

    def get_recurrent_state(self, layer_idx: int, state_idx: int = 0) -> Tensor | None:
        return self.recurrent[layer_idx]

    def is_recording_past(self, layer_idx: int, state_idx: int = 0) -> bool:
        return True  # so that a single vector's convolution goes through `update_conv_state` as well

    def update_conv_state(self, x: Tensor, layer_idx: int, conv_kernel_size: int, **_: Any) -> Tensor:
        """(N, C, S) new inputs -> the same behind the last ones, of which the newest are kept."""
        last = self.conv[layer_idx]
        if last is None:
            last = x.new_zeros(*x.shape[:2], conv_kernel_size)
        x = torch.cat([last, x], -1)
        self.conv[layer_idx] = x[..., -conv_kernel_size:]
        return x

    def update_recurrent_state(self, state: Tensor, layer_idx: int, **_: Any) -> Tensor:
        self.recurrent[layer_idx] = state
        return state


class Mamba2Backbone(SequenceBackbone):
    """Mamba-2 as it is published, which reads a sequence in time linear in its length.

    Args:
        width: d; with ``path``, the model's own.
        num_layers: of mixers.
        state_size: of the recurrence.
        head_dim: channels a head; divides ``2 * width``.
        chunk_size: of the parallel scan.
        vocab_size: of the embeddings, for questions that come as tokens; 1 for none, and then there are no weights for
            it that nothing trains, no checkpoint holds and every run would draw anew.
        path: folder or hub id of a Mamba-2 to start from, in place of the above.
        reinit_layers: so many of the last layers start anew (official code: 1, for training by reinforcement).
    """

    def __init__(
        self,
        *,
        width: PositiveInt = 64,
        num_layers: PositiveInt = 2,
        state_size: PositiveInt = 16,
        head_dim: PositiveInt = 32,
        chunk_size: PositiveInt = 64,
        vocab_size: PositiveInt = 1,
        path: ModelPath | None = None,
        reinit_layers: int = 0,
    ) -> None:
        super().__init__()
        if path is not None:
            name = as_data(str(ModelPath(path)))
            with fetching(name) as place:
                self.model = Mamba2Model.from_pretrained(place, dtype=torch.float32, **WEIGHTS_AS_DATA)
        else:
            if 2 * width % head_dim:
                raise ValueError(f"head_dim={head_dim} must divide 2 * width={2 * width}")
            self.model = Mamba2Model(
                Mamba2Config(
                    hidden_size=width,
                    num_hidden_layers=num_layers,
                    state_size=state_size,
                    head_dim=head_dim,
                    num_heads=2 * width // head_dim,
                    n_groups=1,
                    chunk_size=chunk_size,
                    vocab_size=vocab_size,
                    pad_token_id=None,
                    bos_token_id=None,
                    eos_token_id=None,
                )
            )
            if vocab_size == 1:
                self.model.embeddings = None  # type: ignore[assignment]
        self.width = self.model.config.hidden_size
        for layer in list(self.model.layers)[len(self.model.layers) - reinit_layers :]:
            layer.apply(self.model._init_weights)
            nn.init.ones_(layer.norm.weight)  # type: ignore[arg-type, union-attr]
        if reinit_layers:
            nn.init.ones_(self.model.norm_f.weight)  # official code

    def prefill(self, x: Tensor, lengths: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        # rows of one length at a time: a padding vector would go into the state
        known = lengths.tolist()
        if all(length == x.shape[1] for length in known):
            return self._read(x, state)
        hidden, order, states = torch.zeros_like(x), [], []
        for length in sorted(set(known)):
            rows = torch.tensor([n for n, own in enumerate(known) if own == length], device=x.device)
            part, after = self._read(x[rows, :length], None if state is None else self.select(state, rows))
            hidden = hidden.index_put((rows,), nn.functional.pad(part, (0, 0, 0, x.shape[1] - length)).to(hidden))
            order.append(rows)
            states.append(after)
        back = torch.cat(order).argsort()
        return hidden, tuple(torch.cat(parts)[back] for parts in zip(*states, strict=True))

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        hidden, after = self._read(x[:, None], state)
        return hidden[:, 0], after

    def parallel(self, x: Tensor, state: State) -> Tensor:
        # a single vector is read in a way that overwrites what the backward pass needs; a second one avoids it
        length = x.shape[1]
        return self._read(nn.functional.pad(x, (0, 0, 0, 1)) if length == 1 else x, state)[0][:, :length]

    def embed(self, token_ids: Tensor) -> Tensor:
        return super().embed(token_ids) if self.model.embeddings is None else self.model.embeddings(token_ids)

    def _read(self, x: Tensor, state: State | None) -> tuple[Tensor, State]:
        carried = _Carried(len(self.model.layers), state)
        for layer in self.model.layers:
            x = layer(x, cache_params=carried)
        return self.model.norm_f(x), carried.state()
