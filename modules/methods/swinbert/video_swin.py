"""SwinBERT's video backbone: a Video Swin Transformer (Liu et al., arXiv 2106.13230), torchvision's class at any size.

Pixels (B, T, 3, H, W) become tokens on a grid of T / 2 steps and H / 32 rows with four stages and 2 x 4 x 4 patches:
each stage behind the first halves rows and columns, and none shortens time. Other lengths and sizes are padded to whole
patches, so both may vary from call to call.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from jsonargparse.typing import PositiveInt
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from modules.files.paths import InputPath
from modules.methods.swinbert.token_grid import TokenGrid
from modules.methods.swinbert.vidswin_checkpoint import read_vidswin

# ImageNet's, as the published backbones were trained
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class VideoSwin(nn.Module):
    """Frames to tokens. The defaults are torchvision's ``swin3d_b`` and the paper's VidSwin-B.

    ``swin3d_t`` has ``embed_dim`` 96, ``depths`` 2, 2, 6, 2 and ``num_heads`` 3, 6, 12, 24; ``swin3d_s`` the same with
    18 in the place of 6.

    Args:
        embed_dim: width of the first stage; each behind it has twice that of the one before.
        depths: blocks of each stage.
        num_heads: of each stage.
        window: tokens that attend to one another, along time, height and width.
        patch: pixels of a token of the first stage, along the same.
        drop_path: rate of stochastic depth of the last block, rising from 0 (official code: 0.2).
        weights: published checkpoint of VidSwin (`vidswin_checkpoint`), or a state of torchvision's class; None begins
            with random weights.
        gradient_checkpointing: compute the activations of each block again in the backward pass.
    """

    def __init__(
        self,
        *,
        embed_dim: PositiveInt = 128,
        depths: Sequence[PositiveInt] = (2, 2, 18, 2),
        num_heads: Sequence[PositiveInt] = (4, 8, 16, 32),
        window: Sequence[PositiveInt] = (8, 7, 7),
        patch: Sequence[PositiveInt] = (2, 4, 4),
        drop_path: float = 0.2,
        weights: InputPath | None = None,
        gradient_checkpointing: bool = False,
    ) -> None:
        from torchvision.models.video.swin_transformer import SwinTransformer3d  # here: it takes seconds to import

        super().__init__()
        if len(depths) != len(num_heads):
            raise ValueError(f"depths {list(depths)} and num_heads {list(num_heads)}: one number a stage each")
        if len(window) != 3 or len(patch) != 3:
            raise ValueError(f"window {list(window)} and patch {list(patch)}: three numbers each, time first")
        self.shape: dict[str, Any] = {
            "embed_dim": embed_dim,
            "depths": list(depths),
            "num_heads": list(num_heads),
            "window": list(window),
            "patch": list(patch),
            "drop_path": drop_path,
        }
        self.gradient_checkpointing = gradient_checkpointing
        swin = SwinTransformer3d(
            patch_size=list(patch),
            embed_dim=embed_dim,
            depths=list(depths),
            num_heads=list(num_heads),
            window_size=list(window),
            stochastic_depth_prob=drop_path if sum(depths) > 1 else 0.0,
        )
        self.width: int = swin.num_features
        self.patch_embed, self.features, self.norm = swin.patch_embed, swin.features, swin.norm
        self.register_buffer("mean", torch.tensor(_MEAN)[:, None, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(_STD)[:, None, None, None], persistent=False)
        if weights is not None:
            self.load(weights)

    def load(self, path: str) -> None:
        """Takes all weights of a published file.

        Raises:
            ValueError: it lacks one, has one that has no place here, or one of another shape.
        """
        found, own = read_vidswin(path), dict(self.named_parameters())
        wrong = [n for n in own if n not in found or found[n].shape != own[n].shape] + sorted(found.keys() - own.keys())
        if wrong:
            name = wrong[0]
            theirs = tuple(found[name].shape) if name in found else "not there"
            ours = tuple(own[name].shape) if name in own else "without a place"
            raise ValueError(
                f"{path} is of another size than this backbone: {name} is {theirs} in the file and {ours} here, "
                f"{len(wrong)} tensors in all; give embed_dim, depths, num_heads, window and patch of the file's model"
            )
        self.load_state_dict(found, strict=False)

    def grid(self, num_frames: int, height: int, width: int) -> TokenGrid:
        """Of the tokens that so many frames of so many pixels become."""
        halvings = 2 ** (len(self.shape["depths"]) - 1)
        steps, rows, columns = (
            math.ceil(size / patch)
            for size, patch in zip((num_frames, height, width), self.shape["patch"], strict=True)
        )
        return TokenGrid(steps, math.ceil(rows / halvings), math.ceil(columns / halvings))

    def forward(self, frames: Tensor) -> Tensor:
        """uint8 (B, T, 3, H, W) -> (B, M, width), the grid's tokens in order."""
        mean, std = self.get_buffer("mean"), self.get_buffer("std")
        pixels = (frames.transpose(1, 2).float() / 255 - mean) / std
        states = self.patch_embed(pixels.to(self.patch_embed.proj.weight.dtype))  # (B, T', H', W', C)
        for stage in self.features:
            blocks: list[Callable[[Tensor], Tensor]] = list(stage) if isinstance(stage, nn.Sequential) else [stage]
            for block in blocks:
                if self.gradient_checkpointing and torch.is_grad_enabled():
                    states = checkpoint(block, states, use_reentrant=False)
                else:
                    states = block(states)
        return self.norm(states).flatten(1, 3)
