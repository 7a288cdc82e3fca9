"""A client's request with the chosen frames in its video's place, as another server reads them.

``video``: one video of JPEG pictures, with the times beside it (vLLM #40133, 2026-04). A server computes a picture's
time as index / fps, so indices are the true times on a clock that tells all of them apart: the file's own frame rate
where that does, else milliseconds. ``images``: each picture after its time in text, which every server reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from recipes.serving.chat_request import OWN_FIELD, ChatRequest

Form = Literal["video", "images"]
_FINE_FPS = 1000.0


def forwarded_body(
    request: ChatRequest,
    model: str,
    form: Form,
    pictures: Sequence[str],
    times_s: Sequence[float],
    *,
    duration_s: float,
    video_fps: float,
) -> dict[str, Any]:
    """The body of a request to a server behind this one; everything else in it is the client's.

    Args:
        request: of the client.
        model: its name there.
        form: how frames are sent.
        pictures: K JPEG files in base64.
        times_s: K, increasing.
        duration_s: of the video.
        video_fps: of the file; 0 where it is not known.
    """
    body = {key: value for key, value in request.content.items() if key not in (OWN_FIELD, "media_io_kwargs")}
    n, m = request.video.place
    if form == "video":
        if len(pictures) == 1:  # families that merge pairs of frames take one twice
            pictures, times_s = [*pictures] * 2, [*times_s] * 2
        parts = [{"type": "video_url", "video_url": {"url": f"data:video/jpeg;base64,{','.join(pictures)}"}}]
        body["media_io_kwargs"] = {"video": clock_of(times_s, duration_s, video_fps)}
    else:
        parts = []
        for picture, time_s in zip(pictures, times_s, strict=True):
            parts.append({"type": "text", "text": f"[{time_s:.1f} s]"})
            parts.append({"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{picture}"}})
    messages = [dict(message) for message in request.content["messages"]]
    content = messages[n]["content"]
    messages[n]["content"] = [*content[:m], *parts, *content[m + 1 :]]
    if request.options:
        listed = "\n".join(f"{letter}. {option}" for letter, option in zip("ABCDEFGHIJ", request.options, strict=False))
        instruction = "Answer with the option's letter from the given choices directly."
        added = {"type": "text", "text": f"{listed}\n{instruction}"}
        last = messages[-1]["content"]
        known = [{"type": "text", "text": last}] if isinstance(last, str) else last
        messages[-1]["content"] = [*known, added]
    return {**body, "model": model, "messages": messages}


def clock_of(times_s: Sequence[float], duration_s: float, video_fps: float) -> dict[str, Any]:
    """``media_io_kwargs.video`` for frames taken at those times.

    Returns:
        With ``frames_indices`` (K whole numbers, increasing) and ``fps``, so that index / fps is each frame's time, and
        ``num_frames`` K, without which vLLM keeps 32 of them.
    """
    fps = video_fps
    indices = [round(time_s * fps) for time_s in times_s]
    exact = fps > 0 and all(abs(i / fps - t) <= 0.001 for i, t in zip(indices, times_s, strict=True))
    if not exact or len(set(indices)) < len(indices):
        fps = _FINE_FPS
        indices = [round(time_s * fps) for time_s in times_s]
    return {
        "num_frames": len(indices),
        "fps": fps,
        "frames_indices": indices,
        "total_num_frames": max(round(duration_s * fps), indices[-1] + 1 if indices else 1),
        "duration": duration_s,
        "do_sample_frames": False,
    }
