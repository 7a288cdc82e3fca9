"""How long a stretch is that one caption describes, at each depth, and what the captioner sees of it.

The paper gives a scope and a rate for every depth and benchmark, and on some benchmarks they depend on how long the
video is: see `recipes/paper/videolucy_qwen2_5_vl_7b.yaml`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from modules.methods.videolucy.frame_clock import FrameClock, Span
from modules.selection.even_spacing import evenly_spaced

_NAMES = ("coarse", "fine", "ultra-fine")


@dataclass(frozen=True, kw_only=True)
class Level:
    """One depth of the memory.

    Args:
        scope_s: seconds that one caption describes.
        fps: frames a second that the captioner is shown; more than the data's ``candidate_fps`` are not there.
        max_frames: at most so many frames a caption, evenly spaced.
        max_pixels: of a frame; larger ones are made smaller.
    """

    scope_s: float
    fps: float
    max_frames: int | None = None
    max_pixels: int | None = None

    def __post_init__(self) -> None:
        counts = [value for value in (self.max_frames, self.max_pixels) if value is not None]
        if not (0 < self.scope_s < math.inf and 0 < self.fps < math.inf) or any(count < 1 for count in counts):
            raise ValueError(f"{self}: scope_s and fps have to be above 0, max_frames and max_pixels at least 1")

    def shown(self, span: Span, clock: FrameClock) -> list[int]:
        """Candidate indices of the frames of a span that the captioner is shown, increasing, at least one."""
        count = max(1, round(len(span) * min(1.0, self.fps / clock.frames_per_s)))
        count = min(count, len(span), self.max_frames or count)
        return (span.first + evenly_spaced(len(span), count)).tolist()

    def size(self, height: int, width: int) -> tuple[int, int]:
        """The size at which frames of that size are shown."""
        if self.max_pixels is None or height * width <= self.max_pixels:
            return height, width
        scale = math.sqrt(self.max_pixels / (height * width))
        return max(1, int(height * scale)), max(1, int(width * scale))


@dataclass(frozen=True, kw_only=True)
class Scopes:
    """The depths of a video of up to some length.

    Args:
        levels: from the coarsest to the finest; two or three in the paper.
        up_to_s: seconds; longer videos take the next. None: however long.
    """

    levels: list[Level]
    up_to_s: float | None = None

    def __post_init__(self) -> None:
        scopes = [level.scope_s for level in self.levels]
        if not scopes or any(finer >= coarser for coarser, finer in pairwise(scopes)):
            raise ValueError(f"scopes of {scopes} s: name at least one level, and each finer than the one before it")
        if self.up_to_s is not None and not self.up_to_s > 0:
            raise ValueError(f"up_to_s={self.up_to_s}: above 0")


def levels_of(scopes: Sequence[Scopes], duration_s: float) -> list[Level]:
    """The levels of a video of that length.

    Raises:
        ValueError: the scopes are not in order of length, or none is for a video as long as that.
    """
    limits = [math.inf if one.up_to_s is None else one.up_to_s for one in scopes]
    if limits != sorted(set(limits)):
        raise ValueError(f"scopes: up_to_s of {limits} has to increase")
    for one, limit in zip(scopes, limits, strict=True):
        if duration_s <= limit:
            return one.levels
    raise ValueError(f"scopes: none is for a video of {duration_s:.0f} s; leave up_to_s out of the last")


def level_name(level: int) -> str:
    """What the paper calls a depth, from 0."""
    return _NAMES[level] if level < len(_NAMES) else f"depth {level + 1}"
