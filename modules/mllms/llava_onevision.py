"""LLaVA-OneVision, and LLaVA-Video in the same classes: per-frame tokens, so all rollouts' frames are encoded once.

Facts (transformers 5.23): a frame becomes ceil(sqrt(n)/2)^2 tokens after bilinear pooling, independent of the frames
beside it; one newline token closes the video. The family has no timestamps: they reach the model as a sentence of the
prompt, if at all; a small one can be taught to read a number before each frame. LLaVA-Video-7B-Qwen2 is this
architecture with a newline after every row of a frame's tokens (14 x 15 = 210 a frame at its size) and none at the end;
transformers has no port of it, so `modules/mllms/llava_video.py` renames its weights.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
import transformers
from torch import Tensor
from transformers.modeling_outputs import BaseModelOutputWithPooling

from modules.files.paths import ModelPath
from modules.mllms.base import Row
from modules.mllms.loading import Loading
from modules.mllms.prompt import Prompt
from modules.mllms.transformers_mllm import Clip, TransformersMLLM


class LlavaOnevision(TransformersMLLM):
    """LLaVA-OneVision, and LLaVA-Video in the same layout.

    Args:
        path, prompt, loading, frames_per_forward: see `TransformersMLLM`.
        newline: ``one`` at the end of the video (LLaVA-OneVision), or after each row of the ``grid`` (LLaVA-Video).
        frame_percents: write before each frame how much of the video has passed, in whole percents. No model of the
            family knows this but those that are trained on it.
    """

    model_class: ClassVar[type[Any]] = transformers.LlavaOnevisionForConditionalGeneration

    def __init__(
        self,
        *,
        path: ModelPath,
        prompt: Prompt | None = None,
        loading: Loading | None = None,
        frames_per_forward: int = 256,
        newline: Literal["one", "grid"] = "one",
        frame_percents: bool = False,
    ) -> None:
        super().__init__(path=path, prompt=prompt, loading=loading, frames_per_forward=frames_per_forward)
        self.newline, self.frame_percents = newline, frame_percents
        self._short_ids: dict[str, list[int]] = {}

    @property
    def vision(self) -> list[torch.nn.Module]:
        return [self.model.model.vision_tower, self.model.model.multi_modal_projector]

    @property
    def frame_size(self) -> str:
        size = self.processor.video_processor.size
        return f"{size['height']}x{size['width']}"

    def describe(self) -> dict[str, Any]:
        return super().describe() | ({"frame_percents": True} if self.frame_percents else {})

    @property
    def video_token_id(self) -> int:
        return self.model.config.video_token_id

    def pixel_values(self, frames: Tensor) -> Tensor:
        """uint8 (N, 3, H, W) -> float (N, 3, S, S) as the family's video processor makes them."""
        video = self.processed([frames])
        return video["pixel_values_videos"][0].to(self.device, self.dtype)

    def vision_tokens(self, frames: Tensor) -> Tensor:
        """uint8 (N, 3, H, W) -> (N, P, D), pooled and projected, with graph."""
        features = self.model.model.get_video_features(self.pixel_values(frames)[:, None]).pooler_output
        return features[:, :-1]  # the last token of each one-frame video is the newline

    def clip(self, row: Row) -> Clip:
        tokens, newline = row.tokens.to(self.device, self.dtype), self.model.model.image_newline
        if self.newline == "grid":
            side = round(tokens.shape[1] ** 0.5)
            rows = tokens.unflatten(1, (side, side))
            tokens = torch.cat([rows, newline.expand(*rows.shape[:2], 1, -1)], 2)
            features = tokens.flatten(0, 2)
        else:
            features = torch.cat([tokens.flatten(0, 1), newline[None]])
        return Clip("", features)

    def features(self, clips: list[Clip]) -> BaseModelOutputWithPooling:
        return BaseModelOutputWithPooling(pooler_output=torch.cat([c.features for c in clips])[None])

    def prompt_ids(self, row: Row, clip: Clip | None) -> list[int]:
        """Token ids of the prompt, the one placeholder repeated for each of the video's tokens."""
        ids = self._ids(self.prompt_text(row))
        if clip is None:
            return ids
        at, video = ids.index(self.video_token_id), [self.video_token_id] * len(clip.features)
        if self.frame_percents:
            tokens_per_frame, percents = len(video) // len(row.index), self._percents(row)
            frame = video[:tokens_per_frame]
            rest = video[tokens_per_frame * len(row.index) :]
            video = [i for percent in percents for i in (*self._ids(str(percent)), *frame)] + rest
        return ids[:at] + video + ids[at + 1 :]

    def _percents(self, row: Row) -> list[int]:
        """How much of the video has passed before each frame, 0 to 100."""
        times_s = row.timestamps_s.tolist()
        length_s = max(row.question.duration_s, *times_s, 1e-6)
        return [int(100 * time / length_s) for time in times_s]

    def _ids(self, text: str) -> list[int]:
        """Token ids; rollouts of one question have one text here, whatever frames they show."""
        ids = self._short_ids.get(text)
        if ids is None:
            ids = self.tokenizer(text, add_special_tokens=False)["input_ids"]
            if len(self._short_ids) > 10_000:
                self._short_ids.clear()
            self._short_ids[text] = ids
        return ids
