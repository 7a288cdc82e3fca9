"""Patch tokens of a SigLIP vision tower, as ReFoCUS feeds its sequence model: several vectors a frame, no texts.

Official code: SigLIP-so400m-patch14-384 without its last layer and head, 27 x 27 patches, pooled to 14 x 14 by bilinear
resizing, or to 13 x 13 by averages or maxima. A stored video of 512 frames takes 231 MB at 14 x 14 (float16); with
``pool: 27`` one vector is left of a frame.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
import transformers
from jsonargparse.typing import PositiveInt
from torch import Tensor

from modules.encoders.base import FrameEncoder, weights_digest
from modules.encoders.resize import resize
from modules.files.hub import fetching
from modules.files.model_files import WEIGHTS_AS_DATA, as_data
from modules.files.paths import ModelPath

CODE_VERSION = 1


class SiglipPatches(FrameEncoder):
    """Encodes frames to (N, P, D).

    Args:
        path: folder or hub id of a SigLIP.
        pool: side of the squares of patches that become one token.
        pool_by: how; ``bilinear`` rounds the number of tokens up, the others down.
        frames_per_forward: frames in one pass.
    """

    def __init__(
        self,
        *,
        path: ModelPath,
        pool: PositiveInt = 2,
        pool_by: Literal["bilinear", "average", "max"] = "bilinear",
        frames_per_forward: PositiveInt = 64,
    ) -> None:
        super().__init__()
        name = as_data(str(ModelPath(path)))
        self.pool, self.pool_by, self.frames_per_forward = pool, pool_by, frames_per_forward
        with fetching(name) as place:
            model = transformers.SiglipVisionModel.from_pretrained(place, dtype="float32", **WEIGHTS_AS_DATA)
        self.model = model.eval().requires_grad_(False)
        self.size = self.model.config.image_size

    @property
    def key(self) -> str:
        return f"siglip-{weights_digest(self.model)}-{self.size}-{self.pool_by}{self.pool}-v{CODE_VERSION}"

    @torch.no_grad()
    def encode_frames(self, frames: Tensor) -> Tensor:
        return torch.cat([self._encode(part) for part in frames.split(self.frames_per_forward)])

    def _encode(self, frames: Tensor) -> Tensor:
        device = next(self.model.parameters()).device
        pixels = resize(frames.to(device), (self.size, self.size)).float() / 127.5 - 1.0  # mean and std of 0.5
        patches = self.model(pixel_values=pixels, output_hidden_states=True).hidden_states[-2]  # without the last layer
        side = math.isqrt(patches.shape[1])
        grid = patches.transpose(1, 2).unflatten(2, (side, side)).float()
        if self.pool_by == "bilinear":
            tokens = torch.nn.functional.interpolate(grid, [math.ceil(side / self.pool)] * 2, mode="bilinear")
        elif self.pool_by == "average":
            tokens = torch.nn.functional.avg_pool2d(grid, self.pool)
        else:
            tokens = torch.nn.functional.max_pool2d(grid, self.pool)
        return tokens.flatten(2).transpose(1, 2)
