"""A video that is sent as a list of JPEG pictures (vLLM's ``video/jpeg``), as a file with the times that were given.

The pictures go into a Matroska file as they are; nothing is encoded anew, and they are decoded where every other video
is. Without times (``media_io_kwargs.video``: ``fps`` and ``frames_indices``) they are a second apart, as at vLLM.
"""

from __future__ import annotations

import base64
import binascii
import io
import itertools
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from PIL import Image, UnidentifiedImageError

from recipes.serving.request_errors import bad_request
from recipes.serving.serving_settings import ServingLimits

_TICKS = 1000
"""A second in a Matroska file."""


def decoded(text: str) -> bytes:
    """Base64.

    Raises:
        RequestError: it is none.
    """
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise bad_request("the video's base64 is malformed", "messages", "invalid_data_url") from None


def pictures_of(texts: Sequence[str], limits: ServingLimits) -> list[bytes]:
    """The files of a list of pictures, looked at no further than their headers.

    Raises:
        RequestError: too many or too large ones, other formats, or several sizes.
    """
    if len(texts) > limits.listed_frames:
        raise bad_request(f"{len(texts)} pictures in a list; at most {limits.listed_frames}", "messages")
    files = [decoded(text) for text in texts]
    sizes = {_size_of(file, number) for number, file in enumerate(files)}
    if len(sizes) > 1:
        raise bad_request(f"the pictures of a list have one size; here are {sorted(sizes)[:4]}", "messages")
    if max(next(iter(sizes))) > limits.picture_px:
        raise bad_request(f"pictures of {next(iter(sizes))}; sides go up to {limits.picture_px}", "messages")
    return files


def _size_of(file: bytes, number: int) -> tuple[int, int]:
    try:
        with Image.open(io.BytesIO(file), formats=["JPEG"]) as picture:
            return picture.size
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        raise bad_request(f"picture {number} of the list is no JPEG", "messages", "invalid_data_url") from None


def times_of(num_pictures: int, clock: dict[str, Any]) -> list[float]:
    """When pictures were taken, in seconds, increasing.

    Args:
        num_pictures: N.
        clock: ``media_io_kwargs.video``.

    Raises:
        RequestError: it is none.
    """
    fps, indices = clock.get("fps", 1.0), clock.get("frames_indices")
    where = "media_io_kwargs.video"
    if isinstance(fps, bool) or not isinstance(fps, (int, float)) or not 0 < fps <= _TICKS:
        raise bad_request(f"{where}.fps={fps!r:.50}: a number above 0, up to {_TICKS}", f"{where}.fps")
    if indices is None:
        indices = list(range(num_pictures))
    whole = isinstance(indices, list) and all(isinstance(i, int) and not isinstance(i, bool) for i in indices)
    if not whole or len(indices) != num_pictures or any(b <= a for a, b in itertools.pairwise(indices)):
        raise bad_request(
            f"{where}.frames_indices: {num_pictures} whole numbers, increasing", f"{where}.frames_indices"
        )
    if indices[0] < 0 or indices[-1] / fps > 1e7:
        raise bad_request(f"{where}.frames_indices: from 0 on, within reason", f"{where}.frames_indices")
    return [index / fps for index in indices]  # at least a tick apart, since fps is at most 1000


def write_pictures(path: Path, files: Sequence[bytes], times_s: Sequence[float]) -> None:
    """Writes a video of N JPEG files, each at its time."""
    with Image.open(io.BytesIO(files[0]), formats=["JPEG"]) as picture:
        width, height = picture.size
    with av.open(str(path), "w", format="matroska") as container:
        stream: Any = container.add_stream("mjpeg", rate=Fraction(1))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuvj420p"
        stream.time_base = Fraction(1, _TICKS)
        for file, time_s in zip(files, times_s, strict=True):
            packet = av.Packet(file)
            packet.stream, packet.time_base = stream, Fraction(1, _TICKS)
            packet.pts = packet.dts = round(time_s * _TICKS)
            packet.is_keyframe = True
            container.mux(packet)
