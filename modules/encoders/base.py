"""What a frozen frame encoder promises, and the key under which its output may be stored."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from modules.records import Candidates


class VideoReading(ABC):
    """What an encoder makes of one video, whose frames come piece by piece and in order."""

    @abstractmethod
    def add(self, frames: Tensor, timestamps_s: Tensor) -> None:
        """Takes the next frames.

        Args:
            frames: uint8 (n, 3, H, W).
            timestamps_s: float64 (n,).
        """

    @abstractmethod
    def end(self, candidates: Candidates) -> tuple[Candidates, Tensor]:
        """The video is through.

        Args:
            candidates: its T frames.

        Returns:
            What may be chosen of it, those frames or clips of them, and float16 (T, ...) features, on the host.
        """


class FrameByFrame(VideoReading):
    """Each frame by itself."""

    def __init__(self, encoder: FrameEncoder) -> None:
        self.encoder, self.parts = encoder, list[Tensor]()

    def add(self, frames: Tensor, timestamps_s: Tensor) -> None:
        self.parts.append(self.encoder.encode_frames(frames).half().cpu())

    def end(self, candidates: Candidates) -> tuple[Candidates, Tensor]:
        return candidates, torch.cat(self.parts)


class FrameEncoder(ABC, nn.Module):
    """Turns frames into one vector each, or several. Frozen; its preprocessing and its key live with it."""

    @property
    @abstractmethod
    def key(self) -> str:
        """Identifies model, weights, resolution and code version; two encoders with one key give one output."""

    @abstractmethod
    def encode_frames(self, frames: Tensor) -> Tensor:
        """uint8 (N, 3, H, W) -> float32 (N, ...), chunked inside."""

    def reading(self) -> VideoReading:
        """What takes the frames of one video, in order, to be stored."""
        return FrameByFrame(self)


class ImageTextEncoder(FrameEncoder):
    """A frame encoder whose vectors can be compared with those of texts."""

    num_truncated: int = 0
    """Texts so far that were longer than the encoder reads, and were cut."""

    @abstractmethod
    def encode_texts(self, texts: list[str]) -> Tensor:
        """N texts -> float32 (N, D)."""


def weights_digest(module: nn.Module) -> str:
    """Short hash of names, shapes and values of a module's parameters and buffers (up to 64 values of each)."""
    digest = hashlib.sha256()
    for name, tensor in module.state_dict().items():
        flat = tensor.detach().flatten()
        step = max(1, flat.numel() // 64)
        digest.update(f"{name}{tuple(tensor.shape)}".encode())
        digest.update(flat[::step].to("cpu", torch.float32).numpy().tobytes())
    return digest.hexdigest()[:12]
