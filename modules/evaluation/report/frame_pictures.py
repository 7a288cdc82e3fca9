"""Small pictures of chosen frames, as many as a page has room for."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from PIL import Image

_SMALL_PX, _QUALITY = 48, 40
_ENOUGH = 6
"""Pictures of a question that are rather kept than large."""
_OVERHEAD = 220
"""Bytes of markup around a picture."""


Frame = tuple[int, int]
"""(number of a question in the gallery, frame id)."""


@dataclass
class Pictured:
    """What fits."""

    urls: dict[Frame, str] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)


def fitted(pictures: Mapping[Frame, bytes], wanted: Sequence[Sequence[int]], budget: int) -> Pictured:
    """Data URLs of pictures that take no more than a budget together.

    Where they do not fit, each question loses its least important ones, down to six; then all become smaller; then more
    are lost.

    Args:
        pictures: WebP files.
        wanted: of each question the frame ids, the most important first.
        budget: bytes of the page that are left.
    """
    longest = max((len(frames) for frames in wanted), default=0)
    small: dict[Frame, bytes] = {}

    def best(count: int) -> list[Frame]:
        return [(q, frame) for q, frames in enumerate(wanted) for frame in frames[:count] if (q, frame) in pictures]

    def found(files: Mapping[Frame, bytes], fewest: int) -> dict[Frame, bytes] | None:
        for count in range(longest, fewest - 1, -1):
            kept = {key: files[key] for key in best(count)}
            if sum(4 * len(file) // 3 + _OVERHEAD for file in kept.values()) <= budget:
                return kept
        return None

    kept = found(pictures, min(_ENOUGH, longest))
    if kept is None:
        small = {key: _smaller(pictures[key]) for key in best(longest)}
        kept = found(small, 0) or {}
    remarks = []
    if small and kept:
        remarks.append(f"Thumbnails are only {_SMALL_PX} pixels high, so that the file stays small.")
    if len(kept) < (had := len(best(longest))):
        remarks.append(f"{len(kept):,} of {had:,} thumbnails fit into the file.")
    return Pictured({key: _url(file) for key, file in kept.items()}, remarks)


def _smaller(file: bytes) -> bytes:
    with Image.open(io.BytesIO(file)) as image:
        image.thumbnail((4 * _SMALL_PX, _SMALL_PX))
        out = io.BytesIO()
        image.save(out, "WEBP", quality=_QUALITY)
    return min(file, out.getvalue(), key=len)


def _url(file: bytes) -> str:
    return f"data:image/webp;base64,{base64.b64encode(file).decode()}"


def grouped(problems: Iterable[str]) -> list[str]:
    """Why videos have no pictures, each reason once, at most three."""
    counts: dict[str, int] = {}
    for problem in problems:
        counts[problem] = counts.get(problem, 0) + 1
    told = [f"{problem}" + (f" ({count} times)" if count > 1 else "") for problem, count in counts.items()]
    return [*told[:3], *([f"and {len(told) - 3} more"] if len(told) > 3 else [])]
