"""Short clips of the Haystack world, each of which shows one thing that takes time.

- *order*: two shapes, one after the other;
- *count*: one shape, shown one to four times;
- *colour*: one shape, which changes its colour;
- *motion*: a ball, which moves one way.

No frame alone tells what happens: an order needs two frames, a count as many as the shape is shown, a change of colour
two, and a motion two. `datamodules.haystack.clip_captions` says it in words.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from datamodules.haystack.world import COLOURS, DIRECTIONS, SHAPES, SPLITS, Event, VideoPlan

CLIP_KINDS = ("order", "count", "colour", "motion")
_MOST_TIMES = 4
_LEAST_SHOWN_S = 0.5
"""Of a shape, with as long a pause behind it: at two frames a second each is seen once."""


@dataclass(frozen=True, kw_only=True)
class ClipWorld:
    """What every clip has in common; each field is a recipe key.

    Args:
        seed: all randomness of the world.
        duration_s: length of each clip in seconds.
        fps: frame rate of the files; ``duration_s`` times this is the number of frames.
        size_px: height and width of the files, even.
        kinds: which of order, count, colour, motion happen, equally often.
        max_count: of how often a shape is shown, at most 4.
    """

    seed: int = 0
    duration_s: float = 8.0
    fps: float = 4.0
    size_px: int = 64
    kinds: tuple[str, ...] = CLIP_KINDS
    max_count: int = 4

    def __post_init__(self) -> None:
        if self.size_px % 2 or self.size_px < 32:
            raise ValueError(
                f"size_px={self.size_px}: H.264 needs an even size, and 32 px is the least that is legible"
            )
        if not 0.25 <= self.fps <= 120:
            raise ValueError(f"fps={self.fps}: between 0.25 and 120")
        unknown = set(self.kinds) - set(CLIP_KINDS)
        if unknown or not self.kinds:
            raise ValueError(f"kinds={list(self.kinds)}: one or more of {list(CLIP_KINDS)}")
        if not 1 <= self.max_count <= _MOST_TIMES:
            raise ValueError(f"max_count={self.max_count}: between 1 and {_MOST_TIMES}")
        least_s = 2 * _LEAST_SHOWN_S * max(2, self.max_count)
        if self.duration_s < least_s:
            raise ValueError(
                f"duration_s={self.duration_s}: a shape that is shown {self.max_count} times, for {_LEAST_SHOWN_S} s "
                f"with as long a pause, takes {least_s:g} s. Make the clip longer, or max_count smaller"
            )

    def plan(self, split: str, number: int) -> VideoPlan:
        """The plan of one clip; the same for the same arguments, on any machine."""
        rng = np.random.default_rng([self.seed, 5, SPLITS.index(split), number])
        kind = str(rng.choice(self.kinds))
        shown = {"order": self._order, "count": self._count, "colour": self._colour, "motion": self._motion}[kind](rng)
        events = self._place(kind, shown, rng)
        return VideoPlan(f"{split}-{number:05d}", int(rng.integers(2**31)), self.duration_s, events)

    @staticmethod
    def _order(rng: np.random.Generator) -> list[tuple[str, str, str]]:
        shapes, colours = rng.choice(SHAPES, 2, replace=False), rng.choice(COLOURS, 2)
        return [("shape", str(colour), str(shape)) for colour, shape in zip(colours, shapes, strict=True)]

    def _count(self, rng: np.random.Generator) -> list[tuple[str, str, str]]:
        count = int(rng.integers(1, self.max_count + 1))
        return [("shape", str(rng.choice(COLOURS)), str(rng.choice(SHAPES)))] * count

    @staticmethod
    def _colour(rng: np.random.Generator) -> list[tuple[str, str, str]]:
        shape = str(rng.choice(SHAPES))
        return [("shape", str(colour), shape) for colour in rng.choice(COLOURS, 2, replace=False)]

    @staticmethod
    def _motion(rng: np.random.Generator) -> list[tuple[str, str, str]]:
        return [("ball", str(rng.choice(COLOURS)), str(rng.choice(DIRECTIONS)))]

    def _place(self, kind: str, shown: list[tuple[str, str, str]], rng: np.random.Generator) -> tuple[Event, ...]:
        """Lays what is shown over the clip; a shape that changes its colour does so without a pause, at its place."""
        slot_s = self.duration_s / len(shown)
        x, y, size = float(rng.uniform(0.36, 0.64)), float(rng.uniform(0.36, 0.64)), float(rng.uniform(0.5, 0.62))
        events = []
        for n, (sort, colour, label) in enumerate(shown):
            start_s, end_s = n * slot_s, (n + 1) * slot_s
            if kind in ("order", "count"):  # with a pause before the next
                longest_s = min(0.7 * slot_s, slot_s - _LEAST_SHOWN_S)
                length_s = float(rng.uniform(max(_LEAST_SHOWN_S, 0.4 * slot_s), longest_s))
                start_s += float(rng.uniform(0, slot_s - length_s - _LEAST_SHOWN_S))
                end_s = start_s + length_s
                x, y = (float(v) for v in rng.uniform(0.36, 0.64, 2))
            events.append(Event(sort, colour, label, start_s, end_s, kind, x, y, size))
        return tuple(events)
