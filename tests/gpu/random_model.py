"""Published models without their weights: the shape of one, random numbers in it, made on the device itself."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch
import transformers

from modules.mllms.loading import Loading
from modules.mllms.qwen_vl import Qwen25VL
from modules.mllms.shapes import config_of
from modules.small_stack.blank_families import qwen25_vl


@dataclasses.dataclass(frozen=True, kw_only=True)
class RandomWeights(Loading):
    """Random weights in the place of a folder's: nothing is read, and no copy of them lies on the host.

    Args:
        device: where they are made.
    """

    device: str = "cpu"

    def model(self, model_class: type[Any], path: str) -> transformers.PreTrainedModel:
        with torch.device(self.device):
            model = model_class._from_config(config_of(path), dtype=getattr(torch, self.dtype))
        model.generation_config = transformers.GenerationConfig.from_pretrained(path)
        return self.adapted(model).eval()


def write_shape(folder: Path, shape: str | None) -> None:
    """Config and processor of a Qwen2.5-VL, without weights.

    Args:
        folder: to write to.
        shape: of a published one (`modules.mllms.shapes`); None is one of 0.2 million parameters.
    """
    torch.manual_seed(0)
    blank, processor = qwen25_vl()
    config = blank.config if shape is None else config_of(shape)
    for name in ("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id"):
        setattr(config, name, getattr(blank.config, name))
    for name in (
        "bos_token_id",
        "eos_token_id",
        "pad_token_id",
    ):  # the small tokenizer's are among the large vocabulary
        setattr(config.text_config, name, getattr(blank.config.text_config, name))
    config.save_pretrained(folder)
    processor.save_pretrained(folder)
    # no token ends an answer, so that every answer is as long as it may be
    transformers.GenerationConfig(pad_token_id=processor.tokenizer.pad_token_id).save_pretrained(folder)


def random_qwen(folder: Path, device: torch.device, dtype: str, pixels: tuple[int, int], lora: Any = None) -> Qwen25VL:
    """A Qwen2.5-VL of the shape in a folder."""
    loading = RandomWeights(dtype=dtype, device=str(device), lora=lora)  # type: ignore[arg-type]
    return Qwen25VL(path=str(folder), loading=loading, frames_per_grid=1, frame_pixels=pixels)
