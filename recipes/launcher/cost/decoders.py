"""What a language model is made of, built on the meta device: no weights, no files but configs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
"""Of a weight, by its dtype."""
_UNGATED = ("phi", "gpt_neox", "gpt2", "opt")
"""Language models whose MLP is two linear layers."""


@dataclass(frozen=True)
class Decoder:
    """The language model. Widths in numbers a token."""

    num_parameters: int
    num_layers: int
    hidden: int
    heads: int
    """All query heads together."""
    kv_heads: int
    """All key heads together; as many for the values."""
    mlp: int
    vocab: int


def on_meta(build: Callable[[], nn.Module]) -> nn.Module:
    """What a function builds, without weights."""
    with torch.device("meta"):
        return build()


def language_model_of(config: Any) -> Any:
    import transformers

    return on_meta(lambda: transformers.AutoModelForCausalLM.from_config(config))


def mlp_size(inner: int, outer: int) -> int:
    """Parameters of two linear layers, from one width to another and once more to that."""
    return (inner + 1) * outer + (outer + 1) * outer


def decoder_of(text: Any, num_parameters: int) -> Decoder:
    """Of a language model's configuration."""
    head = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    # an MLP without a gate keeps half of what one with a gate does, and holds two thirds of it in passing
    gated = text.model_type not in _UNGATED
    return Decoder(
        num_parameters=num_parameters,
        num_layers=text.num_hidden_layers,
        hidden=text.hidden_size,
        heads=head * text.num_attention_heads,
        kv_heads=head * (text.num_key_value_heads or text.num_attention_heads),
        mlp=text.intermediate_size if gated else round(text.intermediate_size * 2 / 3),
        vocab=text.vocab_size,
    )
