"""What a small reasoner has to be able to before it can learn anything else: to say which note has given words.

No question, no plan: notes of things drawn at random, and words that stand in one of them. A small language model finds
the way from words to the name of their note within some hundred batches of nothing else, and hardly ever in the midst
of other lessons (docs/log.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np

from datamodules.haystack.memory_notes import Item, Note
from datamodules.haystack.world import COLOURS, DOTS, GLYPHS, SHAPES

_FEW_NOTES = 6
_NUM_WITH_FEW = 160
_MOST_NOTES = 28
_LOOK_UPS_A_BATCH = 256
_SCOPE_S = 20.0
_CARDS = [("letter", glyph) for glyph in GLYPHS] + [("dots", number) for number in DOTS] + [("box", c) for c in COLOURS]
_ITEMS: list[Item] = [
    (colour, *rest) for colour, rest in product(COLOURS, [*((s,) for s in (*SHAPES, "ball")), *_CARDS])
]


@dataclass(frozen=True)
class LookUps:
    """A memory, and words of it in an order of their own."""

    notes: tuple[Note, ...]
    searched: tuple[Note, ...]
    asked: tuple[tuple[str, Note], ...]
    """Words from a thing to the end of its note, and the note; nothing is in two of the notes."""


def look_up_batch(rng: np.random.Generator, number: int) -> list[LookUps]:
    """The look-ups of one batch.

    Args:
        rng: draws them.
        number: of the batch; memories of the first ones are of few notes.
    """
    num_notes = _FEW_NOTES if number < _NUM_WITH_FEW else int(rng.integers(3, _MOST_NOTES + 1))
    return [_drawn(rng, num_notes) for _ in range(max(8, _LOOK_UPS_A_BATCH // num_notes))]


def _drawn(rng: np.random.Generator, num_notes: int) -> LookUps:
    order, used = rng.permutation(len(_ITEMS)), 0
    notes, searched, asked = list[Note](), list[Note](), list[tuple[str, Note]]()
    for place in range(num_notes):
        count = 1 + int(rng.random() < 0.3) + int(rng.random() < 0.1)
        items = tuple(_ITEMS[item] for item in order[used : used + count])
        used += count
        notes.append(Note(int(rng.random() < 0.3), place * _SCOPE_S, (place + 1) * _SCOPE_S, items))
        if rng.random() < 0.15:
            searched.append(notes[-1])
        words = " ".join(word for item in items[int(rng.integers(count)) :] for word in item)
        asked.append((words, notes[-1]))
    return LookUps(tuple(notes), tuple(searched), tuple(asked[place] for place in rng.permutation(num_notes)))
