"""CLIP in transformers' classes and names: openai/clip-vit-*, and the CLIP half of the published TSPO-0.4B folder.

TSPO's features are those of ``get_image_features`` and ``get_text_features``, not normalised. Its processor cuts the
centre square out of a frame, which throws away 44 % of a 16:9 picture: ``crop: true`` is as published, for its weights;
``crop: false`` shows the whole frame, squeezed.
"""

from __future__ import annotations

import logging

import torch
import transformers
from jsonargparse.typing import PositiveInt
from torch import Tensor

from modules.encoders.base import ImageTextEncoder, weights_digest
from modules.encoders.resize import resize
from modules.files.hub import fetching
from modules.files.model_files import AS_DATA, WEIGHTS_AS_DATA, as_data
from modules.files.paths import ModelPath

CODE_VERSION = 1
_log = logging.getLogger(__name__)


class TransformersCLIP(ImageTextEncoder):
    """A CLIP model.

    Args:
        path: folder or hub id; tensors that are not CLIP's (``selector.*``) are left alone.
        crop: cut out the centre square, as the published processor does.
        frames_per_forward: frames in one pass.
    """

    def __init__(self, *, path: ModelPath, crop: bool = True, frames_per_forward: PositiveInt = 256) -> None:
        super().__init__()
        self.name, self.crop, self.frames_per_forward = as_data(str(ModelPath(path))), crop, frames_per_forward
        logger = logging.getLogger("transformers.modeling_utils")
        level = logger.level
        logger.setLevel(logging.ERROR)  # selector.* is no surprise here
        with fetching(self.name) as place:
            model = transformers.CLIPModel.from_pretrained(place, dtype="float32", **WEIGHTS_AS_DATA)
            self.tokenizer = transformers.AutoTokenizer.from_pretrained(self.name, **AS_DATA)
            processor = transformers.AutoImageProcessor.from_pretrained(self.name, **AS_DATA)
        self.model = model.eval().requires_grad_(False)
        logger.setLevel(level)
        self.size = self.model.config.vision_config.image_size
        self.num_tokens = self.model.config.text_config.max_position_embeddings
        self.num_truncated = 0
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(processor.image_mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(processor.image_std).view(1, 3, 1, 1), persistent=False)

    @property
    def key(self) -> str:
        shape = "crop" if self.crop else "whole"
        return f"clip-{weights_digest(self.model)}-{self.size}{shape}-v{CODE_VERSION}"

    def preprocess(self, frames: Tensor) -> Tensor:
        """uint8 (N, 3, H, W) -> float32 (N, 3, S, S), normalised."""
        height, width = frames.shape[-2:]
        size = (self.size, self.size)
        if self.crop:  # the short side becomes S, as transformers rounds it
            ratio = self.size / min(height, width)
            size = (int(height * ratio), int(width * ratio))
        top, left = (size[0] - self.size) // 2, (size[1] - self.size) // 2
        pixels = resize(frames.to(self.mean.device), size)[..., top : top + self.size, left : left + self.size]
        return (pixels.float() / 255 - self.mean) / self.std

    @torch.no_grad()
    def encode_frames(self, frames: Tensor) -> Tensor:
        parts = [
            self.model.get_image_features(pixel_values=self.preprocess(part)).pooler_output
            for part in frames.split(self.frames_per_forward)
        ]
        return torch.cat(parts).float()

    @torch.no_grad()
    def encode_texts(self, texts: list[str]) -> Tensor:
        whole = self.tokenizer(texts)["input_ids"]
        cut = sum(len(ids) > self.num_tokens for ids in whole)
        if cut:
            # once aloud; a model that writes queries may do it in every step, and the count goes on the card
            level = logging.DEBUG if self.num_truncated else logging.WARNING
            self.num_truncated += cut
            _log.log(
                level, "%d of %d texts are longer than CLIP's %d tokens and are cut", cut, len(texts), self.num_tokens
            )
        inputs = self.tokenizer(texts, truncation=True, max_length=self.num_tokens, padding=True, return_tensors="pt")
        ids, mask = inputs["input_ids"], inputs["attention_mask"]
        output = self.model.get_text_features(
            input_ids=ids.to(self.mean.device), attention_mask=mask.to(self.mean.device)
        )
        return output.pooler_output.float()
