"""Frames as JPEG, for a page or for a server behind this one."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

import numpy as np
from PIL import Image


@dataclass(frozen=True)
class PictureForm:
    """How frames are encoded."""

    side_px: int | None
    """Longer sides are shrunk to this; None keeps them."""
    quality: int
    """1..95."""

    def encoded(self, frame: np.ndarray) -> bytes:
        """A picture uint8 (H, W, 3) as a JPEG file."""
        image = Image.fromarray(frame)
        if self.side_px is not None:
            image.thumbnail((self.side_px, self.side_px))
        file = io.BytesIO()
        image.save(file, "JPEG", quality=self.quality)
        return file.getvalue()


THUMBNAIL = PictureForm(240, 80)
"""For a page."""


def as_text(picture: bytes) -> str:
    """A file in base64."""
    return base64.b64encode(picture).decode()
