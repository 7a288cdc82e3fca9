"""What a captioner writes about stretches of a Haystack video, made up from its plan, to learn to read memories from.

A small captioner is seldom wrong about large frames and often about small ones. The shares of its slips at each depth
were counted on videos of the ``stream`` split (docs/methods/videolucy.md); with them, texts are made up by the
thousand, where writing and captioning as many videos would take days.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from datamodules.haystack.examples import describe
from datamodules.haystack.world import COLOURS, DOTS, GLYPHS, SHAPES, Event, VideoPlan

NUM_FRAMES = 8
Item = tuple[str, ...]
"""The words for one event, e.g. ``("red", "letter", "K")``."""


@dataclass(frozen=True)
class Note:
    """What is written about one stretch."""

    level: int
    """0 is the coarsest."""
    start_s: float
    end_s: float
    items: tuple[Item, ...]
    """In order; empty where nothing is seen."""

    @property
    def text(self) -> str:
        return " ".join(word for item in self.items for word in item)

    def __contains__(self, other: Note) -> bool:
        return self.start_s <= other.start_s and other.end_s <= self.end_s


@dataclass(frozen=True, kw_only=True)
class Slips:
    """How often a captioner is wrong about an event at one depth.

    Args:
        unseen: share of events that it writes nothing about; of cards, which are dark, `unseen_cards`.
        unseen_cards: letters and dots.
        colour: share of wrong colours.
        shape, letter, dots, box: share of things that are called something else, by what they are.
    """

    unseen: float = 0.0
    unseen_cards: float = 0.0
    colour: float = 0.0
    shape: float = 0.0
    letter: float = 0.0
    dots: float = 0.0
    box: float = 0.0


def notes_of(
    plan: VideoPlan, level: int, stretch: tuple[float, float], scope_s: float, slips: Slips, rng: np.random.Generator
) -> list[Note]:
    """What is written about the parts of a stretch.

    Args:
        plan: what happens.
        level: depth of the parts.
        stretch: seconds, start and end.
        scope_s: length of a part.
        slips: of the captioner.
        rng: draws them.
    """
    num_parts = math.ceil((stretch[1] - stretch[0]) / scope_s)
    starts = [stretch[0] + place * scope_s for place in range(num_parts)]
    return [_note(plan, level, start, min(start + scope_s, stretch[1]), slips, rng) for start in starts]


def _note(plan: VideoPlan, level: int, start_s: float, end_s: float, slips: Slips, rng: np.random.Generator) -> Note:
    step_s = (end_s - start_s) / NUM_FRAMES
    items: list[Item] = []
    for event in plan.events:
        if event.start_s >= end_s or event.end_s <= start_s:
            continue
        first_s = start_s + (0.5 + max(0, math.ceil((event.start_s - start_s) / step_s - 0.5))) * step_s
        if first_s >= min(event.end_s, end_s):  # between two of the frames, or elsewhere
            continue
        item = _written(event, slips, rng)
        if item and (not items or items[-1] != item):
            items.append(item)
    return Note(level, start_s, end_s, tuple(items))


def _written(event: Event, slips: Slips, rng: np.random.Generator) -> Item:
    """The words for an event; none where it is not seen."""
    is_card = event.kind in ("glyph", "dots")
    if rng.random() < (slips.unseen_cards if is_card else slips.unseen):
        return ()
    colour, *rest = describe(event).split()
    if rng.random() < slips.colour:
        colour = str(rng.choice(COLOURS))
    if event.kind != "ball":
        name = {"shape": "shape", "glyph": "letter", "dots": "dots", "boxes": "box"}[event.kind]
        if rng.random() < getattr(slips, name):
            rest = _mistaken(event.kind, rng)
    return (colour, *rest)


def _mistaken(kind: str, rng: np.random.Generator) -> list[str]:
    """Words for another thing, more often than not of the same kind."""
    if rng.random() < (0.4 if kind == "glyph" else 0.75):
        return {
            "shape": [str(rng.choice(SHAPES))],
            "glyph": ["letter", str(rng.choice(GLYPHS))],
            "dots": ["dots", str(rng.choice(DOTS))],
            "boxes": ["box", str(rng.choice(COLOURS))],
        }[kind]
    return [str(rng.choice([*SHAPES, "ball"]))]
