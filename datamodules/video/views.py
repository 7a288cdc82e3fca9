"""What each encoder sees of a video: frames of one decoding, for each at its own size.

A video that several encoders read is decoded once, at the largest of their sizes, and the frames are resized for the
others. Frames shrunk in two steps differ by a grey value here and there from frames shrunk in one, so both sizes are
part of the key that an encoder's output is stored under: one key never stands for other pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor

from modules.encoders.base import FrameEncoder
from modules.encoders.resize import resize


@dataclass(frozen=True)
class View:
    """An encoder, and the frames that it is shown.

    Args:
        encoder: of frames.
        short_side_px: frames are shrunk to it where they are larger; None keeps the size of the file.
        decoded_px: the same, of the decoding that they come from.
    """

    encoder: FrameEncoder
    short_side_px: int | None
    decoded_px: int | None
    key: str = field(init=False)
    """Of the entries in the feature store: the encoder's, and of which pixels."""

    def __post_init__(self) -> None:
        size = _px(self.short_side_px)
        if self.decoded_px != self.short_side_px:
            size += f"of{_px(self.decoded_px)}"
        object.__setattr__(self, "key", f"{self.encoder.key}-{size}")

    def frames(self, decoded: Tensor) -> Tensor:
        """Decoded frames uint8 (N, 3, H, W) as the encoder sees them."""
        return shrink(decoded, self.short_side_px)


def views_of(encoders: Sequence[tuple[FrameEncoder, int | None]]) -> list[View]:
    """Views of encoders that share a decoding.

    Args:
        encoders: each with the short side that it sees; None: the file's.
    """
    sizes = [size for _, size in encoders]
    largest = None if None in sizes else max((size for size in sizes if size is not None), default=None)
    return [View(encoder, size, largest) for encoder, size in encoders]


def shrink(frames: Tensor, short_side_px: int | None) -> Tensor:
    """Frames uint8 (N, 3, H, W), smaller where their short side is longer than that."""
    return resize(frames, shrunk(frames.shape[-2], frames.shape[-1], short_side_px))


def shrunk(height: int, width: int, short_side_px: int | None) -> tuple[int, int]:
    """Height and width of such a frame once it is smaller, as decoding rounds them."""
    if short_side_px is None or min(height, width) <= short_side_px:
        return height, width
    ratio = short_side_px / min(height, width)
    return max(1, round(height * ratio)), max(1, round(width * ratio))


def _px(size: int | None) -> str:
    return "file" if size is None else f"{size}px"
