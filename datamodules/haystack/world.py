"""The Haystack world: seeded plans of long videos in which short events happen.

A plan says what is seen when; `render` draws it, `questions` asks about it, `write` turns it into an MP4. Everything
follows from (world, split, number of the video), so a plan never has to be stored.

Layout of a video, by role:

- *opening* and *closing*: the first and the last event (begin/end questions);
- two *triples*: three shapes within seconds of one another, the middle one occurring once (before/after);
- two *repeated* shapes, 1-4 times each in different colours (count);
- *signs*: of the kinds glyph, dots, boxes and ball, in look-alike couples (needle), so that the couple's other event
  shows a plausible wrong answer.

Shapes of triples occur once in a video, so needle and order questions can name them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SHAPES = ("triangle", "star", "cross", "ring", "heart", "moon", "diamond", "arrow", "square")
COLOURS = ("red", "green", "blue", "yellow", "purple", "white")
GLYPHS = ("A", "H", "K", "S", "T", "Z")
DOTS = ("1", "2", "3", "4", "5", "6")
DIRECTIONS = ("left", "right", "up", "down")
SIGN_KINDS = ("glyph", "dots", "boxes", "ball")
QUESTION_KINDS = ("needle", "begin", "end", "before", "after", "order", "count", "when")
SPLITS = ("train", "val", "test", "stream")


@dataclass(frozen=True)
class Event:
    """Something that is seen for a few seconds."""

    kind: str
    """``shape``, or one of `SIGN_KINDS`."""
    colour: str
    label: str
    """What it is: a shape, a letter, a number of dots, the colour beside it, or the direction of motion."""
    start_s: float
    end_s: float
    role: str
    x: float
    """Centre, as a fraction of the frame."""
    y: float
    size: float
    """Width, as a fraction of the frame."""

    @property
    def span_s(self) -> tuple[float, float]:
        return (self.start_s, self.end_s)


@dataclass(frozen=True)
class VideoPlan:
    """One video before it is drawn."""

    video_id: str
    seed: int
    duration_s: float
    events: tuple[Event, ...]
    """In order of time."""

    def by_role(self, role: str) -> list[Event]:
        return [e for e in self.events if e.role == role]


@dataclass(frozen=True, kw_only=True)
class World:
    """What every video of a Haystack has in common; each field is a recipe key.

    Args:
        seed: all randomness of the world.
        duration_s: length of each video in seconds.
        fps: frame rate of the files.
        size_px: height and width of the files, even.
        event_duration_s: shortest and longest event.
        gap_s: shortest and longest pause inside a triple.
        sign_kinds: which of glyph, dots, boxes, ball happen; two kinds a video at most.
    """

    seed: int = 0
    duration_s: float = 600.0
    fps: float = 2.0
    size_px: int = 64
    event_duration_s: tuple[float, float] = (2.0, 3.0)
    gap_s: tuple[float, float] = (0.5, 1.5)
    sign_kinds: tuple[str, ...] = SIGN_KINDS

    def __post_init__(self) -> None:
        if self.size_px % 2 or self.size_px < 32:
            raise ValueError(
                f"size_px={self.size_px}: H.264 needs an even size, and 32 px is the least that is legible"
            )
        if not 0.25 <= self.fps <= 120:
            raise ValueError(f"fps={self.fps}: between 0.25 and 120")
        for name, (low, high) in {"event_duration_s": self.event_duration_s, "gap_s": self.gap_s}.items():
            if not 0 < low <= high:
                raise ValueError(f"{name}={[low, high]}: needs 0 < shortest <= longest")
        unknown = set(self.sign_kinds) - set(SIGN_KINDS)
        if unknown:
            raise ValueError(f"sign_kinds: {sorted(unknown)} unknown; choose from {list(SIGN_KINDS)}")
        busy_s = 21 * self.event_duration_s[1] + 4 * self.gap_s[1]
        if busy_s > 0.8 * self.duration_s:
            raise ValueError(
                f"duration_s={self.duration_s} is too short: up to 21 events of {self.event_duration_s[1]} s need "
                f"{busy_s / 0.8:.0f} s. Make the video longer or the events shorter."
            )

    def plan(self, split: str, number: int) -> VideoPlan:
        """The plan of one video; the same for the same arguments, on any machine."""
        rng = np.random.default_rng([self.seed, SPLITS.index(split), number])
        shapes = [str(s) for s in rng.permutation(SHAPES)]
        groups = [
            *self._triples(rng, shapes[:6]),
            *self._repeated(rng, shapes[6:8]),
            *self._signs(rng),
        ]
        first, last = (str(c) for c in rng.choice(COLOURS, 2, replace=False))
        opening = [("shape", first, shapes[8], "opening")]
        closing = [("shape", last, shapes[8], "closing")]
        order = rng.permutation(len(groups))
        events = [
            *self._place(rng, [opening], 0.01, 0.06),
            *self._place(rng, [groups[i] for i in order], 0.08, 0.92),
            *self._place(rng, [closing], 0.94, 0.99),
        ]
        video_id = f"{split}-{number:05d}"
        return VideoPlan(video_id, int(rng.integers(2**31)), self.duration_s, tuple(events))

    def _triples(self, rng: np.random.Generator, shapes: list[str]) -> list[list[tuple[str, str, str, str]]]:
        triples = []
        for names in (shapes[:3], shapes[3:6]):
            colours = rng.choice(COLOURS, 3, replace=False)
            roles = ("triple-before", "triple-middle", "triple-after")
            triples.append([("shape", str(c), n, r) for c, n, r in zip(colours, names, roles, strict=True)])
        return triples

    def _repeated(self, rng: np.random.Generator, shapes: list[str]) -> list[list[tuple[str, str, str, str]]]:
        groups = []
        for name in shapes:
            for colour in rng.choice(COLOURS, rng.integers(1, 5), replace=False):
                groups.append([("shape", str(colour), name, "repeated")])
        return groups

    def _signs(self, rng: np.random.Generator) -> list[list[tuple[str, str, str, str]]]:
        groups = []
        for kind in rng.permutation(self.sign_kinds)[:2]:
            vocabulary = {"glyph": GLYPHS, "dots": DOTS, "ball": DIRECTIONS}.get(str(kind))
            colours = [str(c) for c in rng.choice(COLOURS, 4, replace=False)]
            labels = colours[2:] if vocabulary is None else [str(v) for v in rng.choice(vocabulary, 2, replace=False)]
            groups += [[(str(kind), c, v, "sign")] for c, v in zip(colours[:2], labels, strict=True)]
        return groups

    def _place(self, rng: np.random.Generator, groups: list, low: float, high: float) -> list[Event]:
        """Lays groups one after another into [low, high] of the video, sharing the spare time at random."""
        lengths, gaps = [], []
        for group in groups:
            lengths.append(rng.uniform(*self.event_duration_s, len(group)))
            gaps.append(np.append(rng.uniform(*self.gap_s, len(group) - 1), 0.0))
        used_s = sum(float(n.sum() + g.sum()) for n, g in zip(lengths, gaps, strict=True))
        start, stop = low * self.duration_s, high * self.duration_s
        spare_s = max(stop - start - used_s, 0.0)
        pauses = rng.dirichlet(np.full(len(groups) + 1, 2.0)) * spare_s
        events, now = [], start
        for group, length, gap, pause in zip(groups, lengths, gaps, pauses[:-1], strict=True):
            now += pause
            for (kind, colour, label, role), seconds, rest in zip(group, length, gap, strict=True):
                x, y = rng.uniform(0.36, 0.64, 2)
                events.append(
                    Event(
                        kind, colour, label, now, now + seconds, role, float(x), float(y), float(rng.uniform(0.5, 0.62))
                    )
                )
                now += seconds + rest
        return events
