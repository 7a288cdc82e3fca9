"""What models that answer on memories have in common, whatever their family: an output MLP, and no frames to encode."""

from __future__ import annotations

from typing import Any

from jsonargparse.typing import PositiveInt
from torch import Tensor, nn

from modules.files.paths import InputPath
from modules.methods.videostreaming.output_mlp import OutputMLP
from modules.mllms.transformers_mllm import TransformersMLLM


class MemoryReading(TransformersMLLM):
    """A model whose video tokens are memories of clips, as `ClipMemories` makes them; goes before a family's class.

    Args:
        memory_dim, memory_tokens, weights: see `OutputMLP`.
        kwargs: of the family.
    """

    def __init__(
        self, *, memory_dim: PositiveInt, memory_tokens: PositiveInt, weights: InputPath | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        width = int(self.model.config.get_text_config().hidden_size)
        self.output = OutputMLP(memory_dim=memory_dim, memory_tokens=memory_tokens, width=width, weights=weights)

    @property
    def reads_features(self) -> bool:
        return True

    def encode_frames(self, frames: Tensor) -> Tensor:
        raise ValueError("this model reads memories of clips, and no frames: data.encoder has to be ClipMemories")

    def language_parameters(self) -> list[nn.Parameter]:
        return [*super().language_parameters(), *self.output.parameters()]
