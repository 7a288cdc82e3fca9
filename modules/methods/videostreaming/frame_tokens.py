"""Frame tokens of a frozen vision tower: patches, four neighbours of each 2 x 2 square joined into one token.

Paper: CLIP ViT-L/14 at 224 px gives 256 patches of width 1024 a frame, and so 64 tokens of width 4096.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import transformers
from jsonargparse.typing import PositiveInt
from torch import Tensor

from modules.encoders.base import FrameEncoder, weights_digest
from modules.encoders.resize import resize
from modules.files.hub import fetching
from modules.files.model_files import AS_DATA, WEIGHTS_AS_DATA, as_data
from modules.files.paths import ModelPath

CODE_VERSION = 1


class MergedPatches(FrameEncoder):
    """Patches of a transformers vision tower, 2 x 2 of them in a token.

    Args:
        path: folder or hub id of a vision-language model or of a CLIP; its vision tower is taken.
        frames_per_forward: frames in one pass.
    """

    def __init__(self, *, path: ModelPath, frames_per_forward: PositiveInt = 256) -> None:
        super().__init__()
        name = as_data(str(ModelPath(path)))
        with fetching(name) as place:
            config = transformers.AutoConfig.from_pretrained(name, **AS_DATA)
            joined = hasattr(config, "text_config") and config.model_type != "clip"
            loader: Any = transformers.AutoModelForImageTextToText if joined else transformers.CLIPVisionModel
            model = loader.from_pretrained(place, dtype="float32", **WEIGHTS_AS_DATA)
        tower = model.model.vision_tower if joined else model
        self.tower = tower.eval().requires_grad_(False)
        processor = transformers.AutoImageProcessor.from_pretrained(name, **AS_DATA)
        self.size, self.frames_per_forward = int(self.tower.config.image_size), frames_per_forward
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(processor.image_mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(processor.image_std).view(1, 3, 1, 1), persistent=False)

    @property
    def key(self) -> str:
        return f"patches-{weights_digest(self.tower)}-{self.size}-v{CODE_VERSION}"

    @property
    def token_dim(self) -> int:
        """C, width of a token."""
        return 4 * int(self.tower.config.hidden_size)

    @torch.no_grad()
    def encode_frames(self, frames: Tensor) -> Tensor:
        """uint8 (N, 3, H, W) -> float32 (N, tokens, C)."""
        return torch.cat([self._tokens(part) for part in frames.split(self.frames_per_forward)])

    def _tokens(self, frames: Tensor) -> Tensor:
        pixels = resize(frames.to(self.mean.device), (self.size, self.size)).float() / 255
        patches = self.tower((pixels - self.mean) / self.std).last_hidden_state
        return merged(patches[:, -((patches.shape[1] // 4) * 4) :]).float()  # a class token stands before the patches


def merged(patches: Tensor) -> Tensor:
    """Joins the channels of each 2 x 2 square: (N, S * S, C) -> (N, S * S / 4, 4 C), in reading order.

    Raises:
        ValueError: S is no even number.
    """
    side = math.isqrt(patches.shape[1])
    if side**2 != patches.shape[1] or side % 2:
        raise ValueError(f"{patches.shape[1]} patches lie in no square of even sides")
    squares = patches.unflatten(1, (side // 2, 2, side // 2, 2)).transpose(2, 3)
    return squares.flatten(3, 5).flatten(1, 2)
