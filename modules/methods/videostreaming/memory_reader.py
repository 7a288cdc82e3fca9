"""The model that answers on memories: V of them in order of time stand where the frames of a video would.

Paper: Vicuna-7B reads V T P = 4 x 16 x 4 = 256 tokens through a two-layer MLP, whatever the length of the video; that
is `modules.methods.videostreaming.language_reader`. Here it is a LLaVA, as the small shipped answerer is one.
"""

from __future__ import annotations

from typing import Literal

import torch
from jsonargparse.typing import PositiveInt
from torch import Tensor, nn

from modules.files.paths import InputPath, ModelPath
from modules.methods.videostreaming.output_mlp import OutputMLP
from modules.mllms.base import Row
from modules.mllms.llava_onevision import LlavaOnevision
from modules.mllms.loading import Loading
from modules.mllms.prompt import Prompt
from modules.mllms.transformers_mllm import Clip


class MemoryReader(LlavaOnevision):
    """A LLaVA whose video tokens are memories of clips, as `ClipMemories` makes them.

    Args:
        path, prompt, loading: see `TransformersMLLM`; the vision tower is not used.
        memory_dim, memory_tokens, weights: see `OutputMLP`.
        newline: see `LlavaOnevision`.
    """

    def __init__(
        self,
        *,
        path: ModelPath,
        memory_dim: PositiveInt,
        memory_tokens: PositiveInt,
        weights: InputPath | None = None,
        prompt: Prompt | None = None,
        loading: Loading | None = None,
        newline: Literal["one", "grid"] = "one",
    ) -> None:
        super().__init__(path=path, prompt=prompt, loading=loading, newline=newline)
        width = int(self.model.config.get_text_config().hidden_size)
        self.output = OutputMLP(memory_dim=memory_dim, memory_tokens=memory_tokens, width=width, weights=weights)

    @property
    def reads_features(self) -> bool:
        return True

    def encode_frames(self, frames: Tensor) -> Tensor:
        raise ValueError("this model reads memories of clips, and no frames: data.encoder has to be ClipMemories")

    def language_parameters(self) -> list[nn.Parameter]:
        return [*super().language_parameters(), *self.output.parameters()]

    def clip(self, row: Row) -> Clip:
        tokens = self.output.tokens(row.tokens).to(self.device, self.dtype)
        return Clip("", torch.cat([tokens, self.model.model.image_newline[None]]))
