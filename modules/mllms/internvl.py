"""InternVL3 and 3.5 (transformers' port): each frame is an image of 256 tokens, numbered "Frame1:", without times.

Facts (transformers 5.23): the processor refuses videos of different lengths in one batch; the model itself takes frames
flattened, and features under the key ``image``.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
import transformers
from torch import Tensor
from transformers.modeling_outputs import BaseModelOutputWithPooling

from modules.mllms.base import Row
from modules.mllms.transformers_mllm import Clip, TransformersMLLM


class InternVL(TransformersMLLM):
    """See `TransformersMLLM`."""

    model_class: ClassVar[type[Any]] = transformers.InternVLForConditionalGeneration
    modality = "image"

    @property
    def vision(self) -> list[torch.nn.Module]:
        return [self.model.model.vision_tower, self.model.model.multi_modal_projector]

    @property
    def frame_size(self) -> str:
        size = self.processor.video_processor.size
        return f"{size['height']}x{size['width']}"

    @property
    def video_token_id(self) -> int:
        return self.model.config.image_token_id

    def vision_tokens(self, frames: Tensor) -> Tensor:
        """uint8 (N, 3, H, W) -> (N, P, D), with graph."""
        video = self.processed([frames])
        pixels = video["pixel_values_videos"][0].to(self.device, self.dtype)
        return self.model.model.get_image_features(pixels).pooler_output

    def clip(self, row: Row) -> Clip:
        shape = {"pixel_values_videos": torch.empty(1, len(row.index), 0)}
        text = self.placed(self.processor.replace_video_token(shape, 0), row.tokens.shape[1])
        return Clip(text, row.tokens.flatten(0, 1))

    def features(self, clips: list[Clip]) -> BaseModelOutputWithPooling:
        joined = torch.cat([c.features for c in clips])
        return BaseModelOutputWithPooling(pooler_output=joined.to(self.device, self.dtype))
