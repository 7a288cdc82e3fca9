"""Frames as JPEG, for a page or for a server behind this one."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image


def jpeg(frame: np.ndarray, side_px: int | None, quality: int) -> bytes:
    """A picture uint8 (H, W, 3) as a JPEG file, its longer side at most ``side_px``."""
    image = Image.fromarray(frame)
    if side_px is not None:
        image.thumbnail((side_px, side_px))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return file.getvalue()


def base64_jpeg(frame: np.ndarray, side_px: int | None, quality: int) -> str:
    """`jpeg`, in base64."""
    return base64.b64encode(jpeg(frame, side_px, quality)).decode()
