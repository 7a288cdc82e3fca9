"""Any open_clip model as frozen encoder of frames and questions.

Features are not normalised: TSPO adds them to a positional code and takes cosines itself. Whole frames are resized
(no centre crop, which would throw away 44 % of a 16:9 frame), bicubic and antialiased, on the tensor.
"""

from __future__ import annotations

import hashlib
import logging

import open_clip
import torch
from torch import Tensor

from modules.encoders.base import ImageTextEncoder, weights_digest
from modules.encoders.resize import resize
from modules.files.hub import fetching
from modules.files.model_files import as_data
from modules.files.paths import ModelPath

CODE_VERSION = 2
_log = logging.getLogger(__name__)


class OpenCLIPEncoder(ImageTextEncoder):
    """An open_clip model by name or folder.

    Args:
        model: architecture name (``ViT-L-14``), ``local-dir:FOLDER`` or ``hf-hub:ORG/REPO``.
        pretrained: open_clip's tag or a weights file; not for ``local-dir:`` and ``hf-hub:``, which bring their own.
        frames_per_forward: frames in one pass.
    """

    def __init__(self, *, model: ModelPath, pretrained: str | None = None, frames_per_forward: int = 256) -> None:
        super().__init__()
        name = str(ModelPath(model))
        self.frames_per_forward = frames_per_forward
        with fetching(name, _repository(name, pretrained)) as place:
            self.name = as_data(name)
            self.model = open_clip.create_model(place, pretrained=pretrained).eval().requires_grad_(False)
            self.tokenize = open_clip.get_tokenizer(self.name)
        config = open_clip.get_model_preprocess_cfg(self.model)
        size = config["size"]
        self.size = (size, size) if isinstance(size, int) else tuple(size)
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(config["mean"]).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(config["std"]).view(1, 3, 1, 1), persistent=False)

    @property
    def key(self) -> str:
        name = hashlib.sha256(self.name.encode()).hexdigest()[:6]
        return f"open_clip-{name}-{weights_digest(self.model)}-{self.size[0]}x{self.size[1]}-v{CODE_VERSION}"

    def preprocess(self, frames: Tensor) -> Tensor:
        """uint8 (N, 3, H, W) -> float32 (N, 3, S, S), normalised."""
        return (resize(frames.to(self.mean.device), self.size).float() / 255 - self.mean) / self.std

    @torch.no_grad()
    def encode_frames(self, frames: Tensor) -> Tensor:
        parts = [self.model.encode_image(self.preprocess(part)) for part in frames.split(self.frames_per_forward)]
        return torch.cat(parts).float()

    @torch.no_grad()
    def encode_texts(self, texts: list[str]) -> Tensor:
        ids = self.tokenize(texts)
        # whatever the tokenizer: a text to which words can be added without a change has filled its row
        full = int((self.tokenize([f"{text} and so on" for text in texts]) == ids).all(1).sum())
        if full:
            # once aloud; a model that writes queries may do it in every step, and the count goes on the card
            level = logging.DEBUG if self.num_truncated else logging.WARNING
            self.num_truncated += full
            _log.log(level, "%d of %d texts fill the encoder's %d tokens and are cut", full, len(texts), ids.shape[1])
        return self.model.encode_text(ids.to(self.mean.device)).float()


def _repository(name: str, pretrained: str | None) -> str:
    """Where on the hub open_clip finds weights that it knows by an architecture's name and a tag; empty elsewhere."""
    weights = open_clip.get_pretrained_cfg(name, pretrained) if pretrained else {}
    return weights.get("hf_hub", "").rstrip("/")
