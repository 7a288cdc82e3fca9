"""SmolVLM2: each frame is an image after "Frame from MM:SS:", the introduction says how many there are.

Facts (transformers 5.23): in a batch of videos of different lengths the processor writes the longest one's number of
frames into every prompt; here every row's text is its own. Times are cut to whole seconds by the family.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
import transformers
from torch import Tensor

from modules.mllms.base import Row
from modules.mllms.transformers_mllm import Clip, TransformersMLLM


class SmolVLM(TransformersMLLM):
    """See `TransformersMLLM`."""

    model_class: ClassVar[type[Any]] = transformers.SmolVLMForConditionalGeneration
    modality = "image"
    writes_times = True

    @property
    def vision(self) -> list[torch.nn.Module]:
        return [self.model.model.vision_model, self.model.model.connector]

    @property
    def frame_size(self) -> str:
        return str(self.processor.video_processor.max_image_size["longest_edge"])

    @property
    def video_token_id(self) -> int:
        return self.model.config.image_token_id

    def vision_tokens(self, frames: Tensor) -> Tensor:
        """uint8 (N, 3, H, W) -> (N, P, D), with graph."""
        video = self.processed([frames])
        mask = video["pixel_attention_mask"].to(self.device)
        output = self.model.model.get_image_features(video["pixel_values"].to(self.device, self.dtype), mask)
        return torch.cat(list(output.pooler_output)).unflatten(0, (len(frames), -1))

    def clip(self, row: Row) -> Clip:
        video = {"pixel_values": torch.empty(1, len(row.index), 0), "video_metadata": [self.metadata(row)]}
        text = self.placed(self.processor.replace_video_token(video, 0), row.tokens.shape[1])
        return Clip(text, row.tokens.flatten(0, 1))
