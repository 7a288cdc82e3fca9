"""The model that answers on memories: V of them in order of time stand where the frames of a video would.

Paper: Vicuna-7B reads V T P = 4 x 16 x 4 = 256 tokens through a two-layer MLP, whatever the length of the video; that
is `modules.methods.videostreaming.language_reader`. Here it is a LLaVA, as the small shipped answerer is one.
"""

from __future__ import annotations

import torch

from modules.methods.videostreaming.memory_reading import MemoryReading
from modules.mllms.base import Row
from modules.mllms.llava_onevision import LlavaOnevision
from modules.mllms.transformers_mllm import Clip


class MemoryReader(MemoryReading, LlavaOnevision):
    """A LLaVA that reads memories of clips in the place of a video; its vision tower is not used.

    Args:
        memory_dim, memory_tokens, weights: see `OutputMLP`.
        path, prompt, loading, frames_per_forward, newline: see `LlavaOnevision`.
    """

    def clip(self, row: Row) -> Clip:
        tokens = self.output.tokens(row.tokens).to(self.device, self.dtype)
        return Clip("", torch.cat([tokens, self.model.model.image_newline[None]]))
