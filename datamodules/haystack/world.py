"""The Haystack world: seeded plans of long videos in which short events happen.

A plan says what is seen when; `render` draws it, `questions` asks about it, `write` turns it into an MP4. Everything
follows from (world, split, number of the video), so a plan never has to be stored.

Layout of a video, by role:

- *opening* and *closing*: the first and the last event (begin/end questions);
- two *triples*: three shapes within seconds of one another, the middle one occurring once (before/after);
- two *repeated* shapes, 1-4 times each in different colours (count);
- *signs*: of the kinds glyph, dots, boxes and ball, in look-alike couples (needle), so that the couple's other event
  shows a plausible wrong answer.

Shapes of triples occur once in a video, so needle and order questions can name them. A `Difficulty` makes it harder to
find things, and no harder to read them once they are found.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from datamodules.haystack.world_difficulty import Cast, Difficulty, add_look_alikes

SHAPES = ("triangle", "star", "cross", "ring", "heart", "moon", "diamond", "arrow", "square")
MORE_SHAPES = ("bolt", "house", "flag", "chevron", "hourglass", "crown", "arch", "fork", "corner")
"""Only in worlds that name them."""
ALL_SHAPES = (*SHAPES, *MORE_SHAPES)
COLOURS = ("red", "green", "blue", "yellow", "purple", "white")
GLYPHS = ("A", "H", "K", "S", "T", "Z")
DOTS = ("1", "2", "3", "4", "5", "6")
DIRECTIONS = ("left", "right", "up", "down")
SIGN_KINDS = ("glyph", "dots", "boxes", "ball")
QUESTION_KINDS = ("needle", "begin", "end", "before", "after", "order", "count", "when", "never", "apart", "how_long")
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
    opacity: float = 1.0
    """Below 1, the background shines through."""

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
    scene_s: float = 40.0
    """How long the background stays before a cut."""
    num_scenes: int | None = None
    """How many backgrounds there are, shown again and again; None: each is new."""
    shapes: tuple[str, ...] = SHAPES
    """All that might have happened in it."""

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
        difficulty: what makes things hard to find; None: nothing.
        shapes: nine or more of `ALL_SHAPES`, of which nine happen in a video; None: those of `SHAPES`.
        test_shapes: the same of the test split, whose shapes training may never have seen; None: as ``shapes``.
    """

    seed: int = 0
    duration_s: float = 600.0
    fps: float = 2.0
    size_px: int = 64
    event_duration_s: tuple[float, float] = (2.0, 3.0)
    gap_s: tuple[float, float] = (0.5, 1.5)
    sign_kinds: tuple[str, ...] = SIGN_KINDS
    difficulty: Difficulty | None = None
    shapes: tuple[str, ...] | None = None
    test_shapes: tuple[str, ...] | None = None

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
        for name, shapes in {"shapes": self.shapes, "test_shapes": self.test_shapes}.items():
            if shapes is not None and (len(set(shapes)) < len(SHAPES) or not set(shapes) <= set(ALL_SHAPES)):
                raise ValueError(f"{name}: needs {len(SHAPES)} or more of {list(ALL_SHAPES)}, got {list(shapes)}")
        hard = self.difficulty
        num_events, room = (21, 0.8) if hard is None else (21 + hard.max_look_alikes, 0.95 - 2 * hard.edges_frac)
        busy_s = num_events * self.event_duration_s[1] + 4 * self.gap_s[1]
        if busy_s > room * self.duration_s:
            raise ValueError(
                f"duration_s={self.duration_s} is too short: up to {num_events} events of {self.event_duration_s[1]} s "
                f"need {busy_s / room:.0f} s. Make the video longer or the events shorter."
            )

    def shapes_of(self, split: str) -> tuple[str, ...]:
        """All shapes that may happen in a split."""
        named = self.test_shapes if split == "test" and self.test_shapes is not None else self.shapes
        return SHAPES if named is None else named

    def plan(self, split: str, number: int) -> VideoPlan:
        """The plan of one video; the same for the same arguments, on any machine."""
        rng = np.random.default_rng([self.seed, SPLITS.index(split), number])
        hard = self.difficulty
        possible = self.shapes_of(split)
        shapes = [str(s) for s in rng.permutation(possible)]
        triples = self._triples(rng, shapes[:6])
        repeated = self._repeated(rng, shapes[6:8] if hard is None or not hard.absent_shape else shapes[6:7])
        signs = self._signs(rng)
        if hard is not None and hard.look_alikes:
            triples, signs = add_look_alikes(rng, triples, signs, vocabularies())
        groups = [*triples, *repeated, *signs]
        first, last = (str(c) for c in rng.choice(COLOURS, 2, replace=False))
        opening = [Cast("shape", first, shapes[8], "opening")]
        closing = [Cast("shape", last, shapes[8], "closing")]
        groups = [groups[i] for i in rng.permutation(len(groups))]
        if hard is None:
            events = [
                *self._place(rng, [opening], 0.01, 0.06),
                *self._place(rng, groups, 0.08, 0.92),
                *self._place(rng, [closing], 0.94, 0.99),
            ]
        else:  # nothing tells where the first and the last event lie, but that there is none beyond
            low, high = rng.uniform(0.01, hard.edges_frac), 1 - rng.uniform(0.01, hard.edges_frac)
            events = self._place(rng, [opening, *groups, closing], low, high)
        video_id, seed = f"{split}-{number:05d}", int(rng.integers(2**31))
        if hard is None:
            return VideoPlan(video_id, seed, self.duration_s, tuple(events), shapes=possible)
        return VideoPlan(video_id, seed, self.duration_s, tuple(events), hard.scene_s, hard.num_scenes, possible)

    def _triples(self, rng: np.random.Generator, shapes: list[str]) -> list[list[Cast]]:
        triples = []
        for names in (shapes[:3], shapes[3:6]):
            colours = rng.choice(COLOURS, 3, replace=False)
            roles = ("triple-before", "triple-middle", "triple-after")
            triples.append([Cast("shape", str(c), n, r) for c, n, r in zip(colours, names, roles, strict=True)])
        return triples

    def _repeated(self, rng: np.random.Generator, shapes: list[str]) -> list[list[Cast]]:
        groups = []
        for name in shapes:
            for colour in rng.choice(COLOURS, rng.integers(1, 5), replace=False):
                groups.append([Cast("shape", str(colour), name, "repeated")])
        return groups

    def _signs(self, rng: np.random.Generator) -> list[list[Cast]]:
        groups = []
        for kind in rng.permutation(self.sign_kinds)[:2]:
            vocabulary = {"glyph": GLYPHS, "dots": DOTS, "ball": DIRECTIONS}.get(str(kind))
            colours = [str(c) for c in rng.choice(COLOURS, 4, replace=False)]
            labels = colours[2:] if vocabulary is None else [str(v) for v in rng.choice(vocabulary, 2, replace=False)]
            groups += [[Cast(str(kind), c, v, "sign")] for c, v in zip(colours[:2], labels, strict=True)]
        return groups

    def _place(self, rng: np.random.Generator, groups: list[list[Cast]], low: float, high: float) -> list[Event]:
        """Lays groups one after another into [low, high] of the video, sharing the spare time at random."""
        hard = self.difficulty or Difficulty()
        lengths, gaps = [], []
        for group in groups:
            lengths.append(self._durations(rng, len(group)))
            gaps.append(np.append(rng.uniform(*self.gap_s, len(group) - 1), 0.0))
            near = [n for n, cast in enumerate(group[1:]) if cast.near]
            if near:
                gaps[-1][near] = rng.uniform(*hard.near_s, len(near))
        used_s = sum(float(n.sum() + g.sum()) for n, g in zip(lengths, gaps, strict=True))
        start, stop = low * self.duration_s, high * self.duration_s
        spare_s = max(stop - start - used_s, 0.0)
        pauses = rng.dirichlet(np.full(len(groups) + 1, 2.0)) * spare_s
        events, now = [], start
        for group, length, gap, pause in zip(groups, lengths, gaps, pauses[:-1], strict=True):
            now += pause
            for cast, seconds, rest in zip(group, length, gap, strict=True):
                x, y = rng.uniform(0.36, 0.64, 2)
                size = float(rng.uniform(*hard.event_size))
                opacity = 1.0 if hard.event_opacity == (1.0, 1.0) else float(rng.uniform(*hard.event_opacity))
                where = (cast.role, float(x), float(y), size, opacity)
                events.append(Event(cast.kind, cast.colour, cast.label, now, now + seconds, *where))
                now += seconds + rest
        return events

    def _durations(self, rng: np.random.Generator, number: int) -> np.ndarray:
        """(N,) seconds."""
        if self.difficulty is not None and self.difficulty.uneven_durations:
            low, high = (math.log(seconds) for seconds in self.event_duration_s)
            return np.exp(rng.uniform(low, high, number))
        return rng.uniform(*self.event_duration_s, number)


def vocabularies() -> dict[str, tuple[str, ...]]:
    """What can be asked of each kind of sign."""
    return {"glyph": GLYPHS, "dots": DOTS, "boxes": COLOURS, "ball": DIRECTIONS}
