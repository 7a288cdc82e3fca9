"""Stretches of a video in whole frames: what a language model says in seconds is brought to them and stays there.

A model says "0 to 59.9 s" where a memory goes from 0 to 60 s, and no two seconds that were computed in different ways
are equal. So a span is two whole numbers, and everything that is decided about spans is decided on those.

# official code: floats, compared by ==; a period that is not exactly one of the memory's crashes or does nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor

from modules.records import Candidates


@dataclass(frozen=True, order=True)
class Span:
    """Some candidate frames in a row, at least one."""

    first: int
    """Candidate index of the first."""
    end: int
    """Candidate index behind the last."""

    def __post_init__(self) -> None:
        assert 0 <= self.first < self.end, f"no span: {self.first} to {self.end}"

    def __len__(self) -> int:
        return self.end - self.first

    def __contains__(self, other: Span) -> bool:
        return self.first <= other.first and other.end <= self.end

    def overlap(self, other: Span) -> Fraction:
        """Frames in both over frames in either, exactly; 1 of equal spans, 0 of spans that share nothing."""
        shared = min(self.end, other.end) - max(self.first, other.first)
        return Fraction(max(shared, 0), len(self) + len(other) - max(shared, 0))

    def pieces(self, num_frames: int) -> list[Span]:
        """Spans of so many frames that follow one another; the last has what is left, which may be fewer."""
        assert num_frames > 0
        return [Span(first, min(first + num_frames, self.end)) for first in range(self.first, self.end, num_frames)]


class FrameClock:
    """When each of a video's candidate frames begins and ends: frame t lasts until frame t + 1, the last until the end
    of the video.

    Args:
        candidates: T frames.
    """

    def __init__(self, candidates: Candidates) -> None:
        times_s = candidates.timestamps_s.double()
        end_s = max(candidates.duration_s, float(times_s[-1]))
        self.edges_s: Tensor = torch.cat([times_s, torch.tensor([end_s], dtype=torch.float64)])
        """float64 (T + 1,), where frames begin, and the end."""

    @property
    def whole(self) -> Span:
        """The whole video."""
        return Span(0, len(self.edges_s) - 1)

    @property
    def frames_per_s(self) -> float:
        """Candidates a second, on average."""
        num_frames = len(self.edges_s) - 1
        first, last = (0, -2) if num_frames > 1 else (0, -1)
        lasts_s = float(self.edges_s[last] - self.edges_s[first])
        return max(num_frames - 1, 1) / lasts_s if lasts_s > 0 else 1.0

    def num_frames(self, seconds: float) -> int:
        """How many candidates a stretch of that length has, at least one."""
        return max(1, round(seconds * self.frames_per_s))

    def seconds(self, span: Span) -> tuple[float, float]:
        """Where a span begins and ends."""
        return float(self.edges_s[span.first]), float(self.edges_s[span.end])

    def span(self, start_s: float, end_s: float) -> Span:
        """The span whose ends lie nearest to those seconds; at least one frame.

        Raises:
            ValueError: the end does not come after the start, or nothing of it lies inside of the video.
        """
        begins_s, ends_s = float(self.edges_s[0]), float(self.edges_s[-1])
        if not start_s < end_s:
            raise ValueError(f"a period has to end after it begins, and {start_s:g} to {end_s:g} s does not")
        if start_s >= ends_s or end_s <= begins_s:
            raise ValueError(f"{start_s:g} to {end_s:g} s lies outside of the video, which ends at {ends_s:.1f} s")
        first = min(self._nearest_edge(start_s), len(self.edges_s) - 2)
        return Span(first, max(first + 1, self._nearest_edge(end_s)))

    def _nearest_edge(self, second: float) -> int:
        return int((self.edges_s - second).abs().argmin())
