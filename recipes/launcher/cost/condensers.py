"""VideoStreaming's condenser: what it is made of, whether it encodes a stream or reads questions on its memories."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

from modules.mllms.shapes import config_of
from recipes.launcher.cost.decoders import BYTES, Decoder, decoder_of, language_model_of, mlp_size

QUESTION_TOKENS = 64
"""Of a question or a time prompt, as a condenser reads it."""


@dataclass(frozen=True)
class Condenser:
    """Lower layers of a language model that read clips (VideoStreaming)."""

    layers: Decoder
    """Embeddings and output head among its parameters."""
    bytes_each: int
    clip_frames: int
    memory_tokens: int
    token_dim: int

    @property
    def num_parameters(self) -> int:
        return self.layers.num_parameters + mlp_size(self.token_dim, self.layers.hidden)

    def length(self, frame_tokens: int) -> int:
        """Tokens of the sequence of a clip: time prompt, memory before, frames, memory, indicator."""
        return QUESTION_TOKENS + 2 * self.memory_tokens + self.clip_frames * frame_tokens + 1


def condenser_of(node: dict[str, Any]) -> Condenser:
    """Shape of a `ClipCondenser`."""
    arguments = node["init_args"]
    layers, frames = arguments["layers"]["init_args"], int(arguments.get("clip_frames", 16))
    text: Any = copy.deepcopy(config_of(str(layers["path"])).get_text_config())
    text.num_hidden_layers = int(layers["num_layers"])
    text.layer_types = (getattr(text, "layer_types", None) or [])[: text.num_hidden_layers] or None
    network = language_model_of(text)
    kept = network if layers.get("head", True) else network.get_decoder()
    return Condenser(
        layers=decoder_of(text, sum(p.numel() for p in kept.parameters())),
        bytes_each=BYTES[layers.get("dtype", "float32")],
        clip_frames=frames,
        memory_tokens=frames * int(arguments.get("summaries_per_frame", 4)),
        token_dim=int(arguments["token_dim"]),
    )
