"""Frames in a message: as one video that says when each was taken, or as images with their times in text between.

A video of frames is vLLM's ``video/jpeg`` (#37301), its times what ``media_io_kwargs`` says of it (#40133). Times go in
ticks of a thousandth of a second, as in the local adapters, so that a server tells the model the same as these do.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from modules.mllms.served.jpeg_frames import JpegFrame

TICKS_PER_S = 1000


def image_parts(frames: Sequence[JpegFrame], times_s: Sequence[float], detail: str, named: bool) -> list[Any]:
    """Each frame as an image after its time in text; with its name, where the server knows frames by name."""
    parts: list[Any] = []
    for frame, time_s in zip(frames, times_s, strict=True):
        url = {"url": f"data:image/jpeg;base64,{frame.base64}", "detail": detail}
        name = {"uuid": frame.name} if named else {}
        parts.append({"type": "text", "text": f"[{time_s:.1f} s]"})
        parts.append({"type": "image_url", "image_url": url, **name})
    return parts


def video_part(frames: Sequence[JpegFrame], settings: dict[str, Any]) -> dict[str, Any]:
    """All frames as one video; a single frame is given twice, as the families that merge pairs of frames take it.

    Its name is that of its frames and of their times, since a server that finds a name again reads no times.
    """
    url = "data:video/jpeg;base64," + ",".join(frame.base64 for frame in _pair(frames))
    whole = repr([[frame.name for frame in frames], sorted(settings["video"].items())])
    name = hashlib.sha256(whole.encode()).hexdigest()[:32]
    return {"type": "video_url", "video_url": {"url": url}, "uuid": name}


def media_settings(times_s: Sequence[float], duration_s: float) -> dict[str, Any]:
    """What a request says of its video: as many frames as are sent, each with its true time, none left out.

    Args:
        times_s: of the frames.
        duration_s: of the whole video.

    Returns:
        ``media_io_kwargs``. Without ``num_frames`` vLLM keeps 32 of the frames.
    """
    ticks = [round(TICKS_PER_S * time_s) for time_s in _pair(times_s)]
    length_s = max(duration_s, times_s[-1] + 1 / TICKS_PER_S)
    whole = max(round(TICKS_PER_S * length_s), len(ticks))
    return {
        "video": {
            "num_frames": len(ticks),
            "fps": TICKS_PER_S,
            "frames_indices": ticks,
            "total_num_frames": whole,
            "duration": length_s,
            "do_sample_frames": False,
        }
    }


def _pair(values: Sequence[Any]) -> list[Any]:
    return [*values] * 2 if len(values) == 1 else [*values]
