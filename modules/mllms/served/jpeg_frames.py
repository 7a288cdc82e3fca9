"""Frames as they are sent: JPEG, each made once whichever rollouts show it, and named after its content."""

from __future__ import annotations

import base64
import hashlib
import io
import threading
import weakref
from dataclasses import dataclass

from PIL import Image
from torch import Tensor

from modules.mllms.base import FrameTokens


@dataclass(frozen=True)
class JpegFrame:
    """One frame."""

    base64: str
    name: str
    """Of its content, 32 hexadecimal digits: the same frame has the same name in every rollout and run."""


class JpegFrames:
    """Frames of one question, made into JPEG when they are first asked for.

    Args:
        frames: uint8 (N, 3, H, W).
        side_px: longer sides are shrunk to this; None sends frames as they are.
        quality: 1..95.
    """

    def __init__(self, frames: Tensor, side_px: int | None, quality: int) -> None:
        self._frames, self._side_px, self._quality = frames, side_px, quality
        self._made: dict[int, JpegFrame] = {}
        self._locks = [threading.Lock() for _ in range(len(frames))]

    def __getitem__(self, n: int) -> JpegFrame:
        with self._locks[n]:
            if n not in self._made:
                self._made[n] = self._encoded(self._frames[n])
            return self._made[n]

    def _encoded(self, frame: Tensor) -> JpegFrame:
        image = Image.fromarray(frame.permute(1, 2, 0).cpu().numpy())
        if self._side_px is not None:
            image.thumbnail((self._side_px, self._side_px))
        file = io.BytesIO()
        image.save(file, "JPEG", quality=self._quality)
        content = file.getvalue()
        return JpegFrame(base64.b64encode(content).decode(), hashlib.sha256(content).hexdigest()[:32])


class JpegFramesOf:
    """`JpegFrames` of the frame sets that are alive.

    Args:
        side_px, quality: see `JpegFrames`.
    """

    def __init__(self, side_px: int | None, quality: int) -> None:
        self._side_px, self._quality = side_px, quality
        self._made: dict[int, JpegFrames] = {}
        self._lock = threading.Lock()

    def __call__(self, frames: FrameTokens) -> JpegFrames:
        with self._lock:
            if id(frames) not in self._made:
                self._made[id(frames)] = JpegFrames(frames.tokens, self._side_px, self._quality)
                weakref.finalize(frames, self._made.pop, id(frames), None)
            return self._made[id(frames)]
