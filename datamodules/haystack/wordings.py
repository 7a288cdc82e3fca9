"""How the questions of a Haystack are worded: plainly, in paraphrases, or in words that training never had.

All wordings of a pattern ask the same, so they share answer and evidence; those that are held out have words that no
other wording has.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

Wordings = Literal["plain", "varied", "held_out", "all"]
"""Which wordings are asked in: the plain one, it and its paraphrases, the held-out ones alone, or every one."""


@dataclass(frozen=True)
class Pattern:
    """One question before its blanks are filled in."""

    plain: str
    paraphrases: tuple[str, ...] = ()
    held_out: tuple[str, ...] = ()

    def of(self, wordings: Wordings) -> tuple[str, ...]:
        """The wordings that are drawn from; the plain one where nothing else is there."""
        varied = (self.plain, *self.paraphrases)
        return {
            "plain": (self.plain,),
            "varied": varied,
            "held_out": self.held_out or (self.plain,),
            "all": (*varied, *self.held_out),
        }[wordings]


PATTERNS: dict[str, Pattern] = {
    "glyph": Pattern(
        "Which letter is {colour}?",
        ("What is the {colour} letter?", "Which letter is written in {colour}?"),
        ("Which character appears in {colour}?",),
    ),
    "dots": Pattern(
        "How many {colour} dots are on the card?",
        ("How many dots does the {colour} card have?", "What is the number of {colour} dots?"),
        ("How many spots appear in {colour}?",),
    ),
    "boxes": Pattern(
        "Which colour is the box beside the {colour} box?",
        ("What colour does the box next to the {colour} box have?", "In what colour is the other box, not {colour}?"),
        ("Which hue has the neighbour of the {colour} crate?",),
    ),
    "ball": Pattern("Which way does the {colour} ball move?"),
    "colour": Pattern(
        "What colour is the {shape}?",
        ("Which colour does the {shape} have?", "In what colour is the {shape} shown?"),
        ("In which hue does the {shape} appear?",),
    ),
    "first": Pattern(
        "What colour is the first shape?",
        ("Which colour does the opening shape have?", "In what colour is the first shape shown?"),
        ("In which hue does the earliest shape appear?",),
    ),
    "last": Pattern(
        "What colour is the last shape?",
        ("Which colour does the closing shape have?", "In what colour is the last shape shown?"),
        ("In which hue does the final shape appear?",),
    ),
    "before": Pattern(
        "What colour is the shape right before the {shape}?",
        ("Which colour does the shape just before the {shape} have?", "What colour comes right ahead of the {shape}?"),
        ("In which hue does the shape preceding the {shape} appear?",),
    ),
    "after": Pattern(
        "What colour is the shape right after the {shape}?",
        ("Which colour does the shape just after the {shape} have?", "What colour comes right behind the {shape}?"),
        ("In which hue does the shape following the {shape} appear?",),
    ),
    "order": Pattern(
        "Which comes first: {a}, {b}, {c} or {d}?",
        ("Which is shown first: {a}, {b}, {c} or {d}?", "What comes ahead of the others: {a}, {b}, {c} or {d}?"),
        ("Which appears earliest among {a}, {b}, {c} and {d}?",),
    ),
    "count": Pattern(
        "How many times is a {shape} shown?",
        ("How often is a {shape} shown?", "What is the number of times that a {shape} comes?"),
        ("On how many occasions does a {shape} appear?",),
    ),
    "when": Pattern(
        "In which quarter of the video is the {shape} shown?",
        ("Which quarter of the video has the {shape}?", "In which fourth of the video does the {shape} come?"),
        ("During which quarter does the {shape} appear?",),
    ),
    "never": Pattern(
        "Which of these never happens: {a}, {b}, {c} or {d}?",
        ("Which of these is never shown: {a}, {b}, {c} or {d}?", "Which one does not come: {a}, {b}, {c} or {d}?"),
        ("Which is absent among {a}, {b}, {c} and {d}?",),
    ),
    "apart": Pattern(
        "How many eighths of the video lie between the {a} and the {b}?",
        (
            "How many eighths of the video pass from the {a} to the {b}?",
            "What part of the video is between the {a} and the {b}, in eighths?",
        ),
        ("What distance in eighths separates the {a} and the {b}?",),
    ),
    "how_long": Pattern("About how many seconds is the {shape} shown?"),
}
SIGN_WORDS = {"glyph": ("letter", "character"), "dots": ("dots", "spots"), "boxes": ("box", "crate"), "ball": ("ball",)}
"""What each kind of sign is called; every question about it has one of these words."""


def worded(pattern: str, blanks: dict[str, str], wordings: Wordings, rng: np.random.Generator) -> str:
    """The text of a question; nothing is drawn where there is one wording to draw from."""
    choices = PATTERNS[pattern].of(wordings)
    return choices[0 if len(choices) == 1 else int(rng.integers(len(choices)))].format(**blanks)


def lettered(names: list[str]) -> dict[str, str]:
    """The blanks of a question that names up to four things: a, b and so on."""
    return dict(zip("abcd", names, strict=False))
