"""Qwen2.5-VL and Qwen3-VL: two frames merge into one temporal grid, unless each frame is given a grid of its own.

Facts (transformers 5.23):

- The family merges each two consecutive frames. Of chosen frames these can be minutes apart, and what a frame looks
  like then depends on its neighbour. With ``frames_per_grid: 1`` a frame is given twice and becomes a grid of its own:
  twice the tokens, and features that are the same in every rollout, so they are encoded once.
- Qwen2.5-VL knows one time step a video: ``second_per_grid_ts``, here duration / grids, the average. Irregular times
  are not representable; ``prompt.timestamps`` says them in text. Qwen3-VL writes "<12.5 seconds>" before each grid.
- Without metadata v5 assumes 24 fps, and ``fps=`` at the call, which v4 read, has no effect; so times are always given.
- v5 lets the text after a Qwen2.5-VL video start right behind its height or width, v4 behind its last temporal
  position: ``positions: v4`` gives the latter, with which published numbers were made (`modules.mllms.mrope`).
- v5 keeps Qwen3-VL's outer vision start and end around the video (since 5.10), v4 replaced them: two tokens more.
- Qwen3-VL divides its pixel budget by the number of frames; ``frame_pixels`` is for one frame in both families.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
import transformers
from torch import Tensor
from transformers.models.qwen3_vl.modeling_qwen3_vl import BaseModelOutputWithDeepstackFeatures
from transformers.vision_utils import (
    get_vision_cu_seqlens,
    get_vision_interpolation_indices_and_weights,
    get_vision_position_ids,
    get_vision_window_index,
)

from modules.files.paths import ModelPath
from modules.mllms.base import Row
from modules.mllms.loading import Loading
from modules.mllms.mrope import rope_positions
from modules.mllms.packed_attention import pack_attention
from modules.mllms.prompt import Prompt
from modules.mllms.transformers_mllm import Clip, TransformersMLLM

_VIDEO_TYPE = 2


class Qwen25VL(TransformersMLLM):
    """Qwen2.5-VL.

    Args:
        path, prompt, loading, frames_per_forward: see `TransformersMLLM`.
        frames_per_grid: 2, as the family was trained, or 1.
        frame_pixels: at least and at most so many pixels a frame; None keeps the processor's.
        positions: of the text after the video, as transformers ``v5`` or ``v4`` has them; ``v4`` for published numbers.
    """

    model_class: ClassVar[type[Any]] = transformers.Qwen2_5_VLForConditionalGeneration
    num_levels: ClassVar[int] = 1

    def __init__(
        self,
        *,
        path: ModelPath,
        prompt: Prompt | None = None,
        loading: Loading | None = None,
        frames_per_forward: int = 256,
        frames_per_grid: Literal[1, 2] = 2,
        frame_pixels: tuple[int, int] | None = None,
        positions: Literal["v4", "v5"] = "v5",
    ) -> None:
        super().__init__(path=path, prompt=prompt, loading=loading, frames_per_forward=frames_per_forward)
        pack_attention(self.model.model.visual)
        self.frames_per_grid, self.frame_pixels, self.positions = frames_per_grid, frame_pixels, positions
        if frame_pixels is not None and not 0 < frame_pixels[0] <= frame_pixels[1]:
            raise ValueError(f"frame_pixels {frame_pixels}: at least 1, and the first no more than the second")

    @property
    def injects(self) -> bool:
        return self.frames_per_grid == 1

    @property
    def vision(self) -> list[torch.nn.Module]:
        return [self.model.model.visual]

    @property
    def frame_size(self) -> str:
        size = self._size(1)
        return f"{size['shortest_edge']}-{size['longest_edge']}px-grid{self.frames_per_grid}"

    @property
    def video_token_id(self) -> int:
        return self.model.config.video_token_id

    @property
    def merge(self) -> int:
        """Patches that become one token, along one side."""
        return self.model.config.vision_config.spatial_merge_size

    def _size(self, num_frames: int) -> dict[str, int]:
        if self.frame_pixels is None:
            size = self.processor.video_processor.size
            return {"shortest_edge": size["shortest_edge"], "longest_edge": size["longest_edge"]}
        return {"shortest_edge": self.frame_pixels[0], "longest_edge": self.frame_pixels[1]}

    def _pixels(self, videos: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Videos uint8 (K, 3, H, W) -> patches (all, patch), grids (videos, 3). A frame alone is given twice."""
        videos = [v.expand(2, -1, -1, -1) if len(v) == 1 else v for v in videos]
        size = self._size(len(videos[0]))
        out = self.processed(videos, size=size, cap_pixels_per_frame=False)
        return out["pixel_values_videos"].to(self.device, self.dtype), out["video_grid_thw"]

    def vision_tokens(self, frames: Tensor) -> Tensor:
        """uint8 (N, 3, H, W) -> (N, H', W', levels * D), each frame a grid of its own, with graph."""
        pixels, grids = self._pixels([frame[None] for frame in frames])
        output = self.model.model.get_video_features(pixels, grids, **self._places(grids))
        side = (int(grids[0, 1]) // self.merge, int(grids[0, 2]) // self.merge)
        return torch.stack([self._levels(output, n).unflatten(0, side) for n in range(len(frames))])

    def _places(self, grids: Tensor) -> dict[str, Tensor]:
        """Where the tower's patches and windows lie, from grids (V, 3) on the host.

        What cuts and loops stays on the host, what is computed with goes to the device; left to itself the tower
        fetches the lengths of its windows from there in every layer.
        """
        config = self.model.config.vision_config
        window_index, windows = get_vision_window_index(
            grids, spatial_merge_size=self.merge, window_size=config.window_size, patch_size=config.patch_size
        )
        return {
            "position_ids": get_vision_position_ids(grids, self.merge).to(self.device),
            "cu_seqlens": get_vision_cu_seqlens(grids),
            "cu_window_seqlens": windows,
            "window_index": window_index.to(self.device),
        }

    def encode_previews(self, frames: Tensor, num_tokens: int) -> Tensor:
        """Frames with so few pixels that they become at most ``num_tokens`` tokens."""
        if not self.injects:
            raise ValueError("queries are written on previews of one frame each: Qwen-VL needs frames_per_grid: 1")
        side = self.model.config.vision_config.patch_size * self.merge
        usual, self.frame_pixels = self.frame_pixels, (side**2, num_tokens * side**2)
        try:
            return self.encode_frames(frames)
        finally:
            self.frame_pixels = usual

    def _levels(self, output: Any, n: int) -> Tensor:
        """Features of video n (tokens, levels * D)."""
        return output.pooler_output[n]

    def clip(self, row: Row) -> Clip:
        if self.injects:
            tokens = row.tokens
            height, width = tokens.shape[1] * self.merge, tokens.shape[2] * self.merge
            grid, features = torch.tensor([[len(tokens), height, width]]), tokens.flatten(0, 2)
        else:
            pixels, grid = self._pixels([row.tokens])
            features = self._levels(self.model.model.get_video_features(pixels, grid, **self._places(grid)), 0)
        metadata = self.metadata(row, repeat=3 - self.frames_per_grid)
        text = self.processor.replace_video_token({"video_grid_thw": grid, "video_metadata": [metadata]}, 0)
        return Clip(text, features, {"video_grid_thw": grid, **self._times(row, grid)})

    def _times(self, row: Row, grid: Tensor) -> dict[str, Tensor]:
        seconds = self.metadata(row).duration / int(grid[0, 0])  # type: ignore[operator]
        return {"second_per_grid_ts": torch.tensor([seconds])}

    def prepare(self, inputs: dict[str, Any]) -> None:
        is_video = inputs["input_ids"] == self.video_token_id
        inputs["mm_token_type_ids"] = is_video.int() * _VIDEO_TYPE
        grids, steps = self._runs(inputs)
        inputs["position_ids"] = rope_positions(is_video, inputs["attention_mask"], grids, steps, self.positions)

    def _runs(self, inputs: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """Grids (V, 3) in tokens of each run of placeholders, and its positions a grid."""
        if "video_grid_thw" not in inputs:
            return torch.empty(0, 3, dtype=torch.int64), torch.empty(0)
        grids = inputs["video_grid_thw"] // torch.tensor([1, self.merge, self.merge])
        return grids, self.model.config.vision_config.tokens_per_second * inputs["second_per_grid_ts"]

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "positions": self.positions}


class Qwen3VL(Qwen25VL):
    """As `Qwen25VL`, with features of several depths of the tower (deepstack) and times in the prompt."""

    model_class: ClassVar[type[Any]] = transformers.Qwen3VLForConditionalGeneration
    writes_times = True

    def __init__(
        self,
        *,
        path: ModelPath,
        prompt: Prompt | None = None,
        loading: Loading | None = None,
        frames_per_forward: int = 256,
        frames_per_grid: Literal[1, 2] = 2,
        frame_pixels: tuple[int, int] | None = None,
    ) -> None:
        super().__init__(
            path=path,
            prompt=prompt,
            loading=loading,
            frames_per_forward=frames_per_forward,
            frames_per_grid=frames_per_grid,
            frame_pixels=frame_pixels,
        )

    def _size(self, num_frames: int) -> dict[str, int]:
        if self.frame_pixels is None:
            return super()._size(num_frames)
        rounded = num_frames + num_frames % 2  # an odd number is filled up by repeating the last frame
        return {"shortest_edge": self.frame_pixels[0] * rounded, "longest_edge": self.frame_pixels[1] * rounded}

    def _places(self, grids: Tensor) -> dict[str, Tensor]:
        visual = self.model.model.visual
        index, weights = get_vision_interpolation_indices_and_weights(
            grids,
            num_grid_per_side=visual.num_grid_per_side,
            mode=visual.interpolation_mode,
            align_corners=visual.interpolation_align_corners,
            spatial_merge_size=self.merge,
        )
        return {
            "position_ids": get_vision_position_ids(grids, self.merge).to(self.device),
            "cu_seqlens": get_vision_cu_seqlens(grids),
            "interp_indices": index.to(self.device),
            "interp_weights": weights.to(self.device),
        }

    def _levels(self, output: Any, n: int) -> Tensor:
        return torch.cat([output.pooler_output[n], *(level[n] for level in output.deepstack_features)], -1)

    def features(self, clips: list[Clip]) -> BaseModelOutputWithDeepstackFeatures:
        width = self.model.config.vision_config.out_hidden_size
        levels = [c.features.to(self.device, self.dtype).split(width, -1) for c in clips]
        return BaseModelOutputWithDeepstackFeatures(
            pooler_output=[level[0] for level in levels],  # type: ignore[arg-type]
            deepstack_features=[list(depth) for depth in zip(*(level[1:] for level in levels), strict=True)],  # type: ignore[misc]
        )

    def _times(self, row: Row, grid: Tensor) -> dict[str, Tensor]:
        return {}

    def _runs(self, inputs: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """Each grid is a run of its own: its time stands before it in text."""
        if "video_grid_thw" not in inputs:
            return torch.empty(0, 3, dtype=torch.int64), torch.empty(0)
        grids = inputs["video_grid_thw"] // torch.tensor([1, self.merge, self.merge])
        grids = grids.repeat_interleave(grids[:, 0], 0).clone()
        grids[:, 0] = 1
        return grids, torch.ones(len(grids))
