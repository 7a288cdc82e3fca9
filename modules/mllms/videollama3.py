"""VideoLLaMA3: "Time 1.0s:" before each frame; patches that hardly differ from the frame before are dropped.

Facts (transformers 5.23): the dropping compares *consecutive chosen* frames and the pixels a frame may have are an even
share of the video's budget, so a frame's tokens depend on the frames beside it: nothing can be encoded once for all
rollouts, and every row goes through the tower.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
import transformers
from torch import Tensor

from modules.mllms.base import Row
from modules.mllms.transformers_mllm import Clip, TransformersMLLM


class VideoLlama3(TransformersMLLM):
    """See `TransformersMLLM`."""

    model_class: ClassVar[type[Any]] = transformers.VideoLlama3ForConditionalGeneration
    writes_times = True

    @property
    def injects(self) -> bool:
        return False

    @property
    def vision(self) -> list[torch.nn.Module]:
        return [self.model.model.vision_model, self.model.model.projector]

    @property
    def frame_size(self) -> str:
        size = self.processor.video_processor.size
        return f"{size['shortest_edge']}-{size['longest_edge']}px"

    @property
    def video_token_id(self) -> int:
        return self.model.config.video_token_id

    def vision_tokens(self, frames: Tensor) -> Tensor:
        raise NotImplementedError("a frame's tokens depend on the frames beside it")

    def clip(self, row: Row) -> Clip:
        video = self.processed([row.tokens])  # grids and mask stay on the host as well, where the text is made of them
        placed = {name: tensor.to(self.device) for name, tensor in video.items()}
        pixels = placed["pixel_values_videos"].to(self.dtype)
        output = self.model.model.get_video_features(pixels, placed["video_grid_thw"], placed["video_merge_sizes"])
        kept = torch.nonzero(video["video_compression_mask"]).flatten().to(self.device)
        text = self.processor.replace_video_token({**video, "video_metadata": [self.metadata(row)]}, 0)
        return Clip(text, torch.cat(list(output.pooler_output))[kept])
