"""The last decoder layer does for the end of a sequence alone what nothing else reads.

Logits are wanted of the last positions: of an answer's tokens, or of the one token that is generated next. Up to the
last layer every position counts, since later ones attend to it. In the last layer all of them still give keys and
values, but queries, the attention's output and the MLP are read at the last positions alone. Those are four fifths of a
layer's arithmetic and most of its activations: the more of a model, the fewer its layers.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn


@contextmanager
def last_layer_of(model: Any, num_positions: int) -> Iterator[None]:
    """Inside, hidden states of the model are right at the last positions only; the key-value cache is right throughout.

    Args:
        model: a transformers model whose decoder layers have ``self_attn`` with ``q_proj`` and ``o_proj``, and ``mlp``.
        num_positions: of each sequence, from its end.
    """
    layer = model.get_decoder().layers[-1]
    with ExitStack() as hooks:
        for module in (layer.self_attn.q_proj, layer.self_attn.o_proj, layer.mlp):
            _Tail(num_positions).attach(module, hooks)
        yield


class _Tail:
    """A module (R, S, D) -> (R, S, D) works on the last positions, and gives zeros for those before."""

    def __init__(self, num_positions: int) -> None:
        self.num_positions, self.num_before = num_positions, 0

    def attach(self, module: nn.Module, hooks: ExitStack) -> None:
        hooks.callback(module.register_forward_pre_hook(self._cut).remove)
        hooks.callback(module.register_forward_hook(self._fill).remove)

    def _cut(self, module: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
        self.num_before = max(0, inputs[0].shape[1] - self.num_positions)
        return (inputs[0][:, self.num_before :],)

    def _fill(self, module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        return torch.nn.functional.pad(output, (0, 0, self.num_before, 0))
