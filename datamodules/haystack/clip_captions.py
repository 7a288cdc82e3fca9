"""What is said of a Haystack clip, in five wordings, and what a caption that somebody wrote says of it.

All captions of a clip state the same facts in other words, and each states all of them. So one that equals any of them
has everything right (scorer ``exact-match``), and a caption in one of the wordings can be read fact by fact.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator

from datamodules.haystack.world import COLOURS, DIRECTIONS, SHAPES, VideoPlan
from modules.records import VideoQuestion

NUM_WORDINGS = 5
_TIMES = ("once", "twice", "three times", "four times")
_WAYS = {"left": "to the left", "right": "to the right", "up": "up", "down": "down"}
_VALUES = {
    "colour": COLOURS,
    "shape": SHAPES,
    "other_colour": COLOURS,
    "other_shape": SHAPES,
    "times": _TIMES,
    "way": tuple(_WAYS[direction] for direction in DIRECTIONS),
}
WORDINGS: dict[str, tuple[str, ...]] = {
    "order": (
        "first a {colour} {shape} is shown and then a {other_colour} {other_shape}",
        "a {colour} {shape} appears, then a {other_colour} {other_shape} appears",
        "a {other_colour} {other_shape} is shown after a {colour} {shape}",
        "a {colour} {shape} comes before a {other_colour} {other_shape}",
        "there is a {colour} {shape} at first and a {other_colour} {other_shape} at the end",
    ),
    "count": (
        "a {colour} {shape} is shown {times}",
        "a {colour} {shape} appears {times}",
        "{times} a {colour} {shape} can be seen",
        "there is a {colour} {shape} that is seen {times}",
        "the video shows a {colour} {shape} {times}",
    ),
    "colour": (
        "a {shape} changes from {colour} to {other_colour}",
        "a {colour} {shape} turns {other_colour}",
        "the {shape} is {colour} at first and {other_colour} at the end",
        "a {colour} {shape} becomes {other_colour}",
        "a {shape} that was {colour} is now {other_colour}",
    ),
    "motion": (
        "a {colour} ball moves {way}",
        "a {colour} ball goes {way}",
        "the ball that moves {way} is {colour}",
        "there is a {colour} ball moving {way}",
        "the video shows how a {colour} ball moves {way}",
    ),
}
_BLANK = re.compile(r"\{(\w+)\}")


def captions_of(plan: VideoPlan) -> tuple[str, ...]:
    """The five captions of a clip."""
    first, last = plan.events[0], plan.events[-1]
    facts = {
        "colour": first.colour,
        "shape": first.label,
        "other_colour": last.colour,
        "other_shape": last.label,
        "times": _TIMES[len(plan.events) - 1],
        "way": _WAYS.get(first.label, ""),
    }
    return tuple(wording.format(**facts) for wording in WORDINGS[first.role])


def facts_of(text: str) -> dict[str, str]:
    """What a caption in one of the wordings says, by fact; empty where it is in none of them.

    >>> facts_of("A red star becomes blue.")
    {'kind': 'colour', 'colour': 'red', 'shape': 'star', 'other_colour': 'blue'}
    """
    words = " ".join(text.lower().replace(",", " ").replace(".", " ").split())
    for kind, expression in _EXPRESSIONS:
        if match := expression.fullmatch(words):
            return {"kind": kind, **match.groupdict()}
    return {}


def facts_right(text: str, question: VideoQuestion) -> dict[str, bool]:
    """Whether a caption has each fact of a clip right; all are wrong where it is in none of the wordings.

    Args:
        text: that somebody wrote.
        question: of the clip, with its captions as references.
    """
    said, true = facts_of(text), facts_of(question.references[0])
    return {fact: said.get(fact) == value and said["kind"] == true["kind"] for fact, value in true.items()}


def every_caption() -> Iterator[str]:
    """All that can be said of any clip, for vocabularies."""
    for wording in itertools.chain.from_iterable(WORDINGS.values()):
        blanks = _BLANK.findall(wording)
        for values in itertools.product(*(_VALUES[blank] for blank in blanks)):
            yield wording.format(**dict(zip(blanks, values, strict=True)))


def _expression(wording: str) -> re.Pattern[str]:
    plain = wording.replace(",", "")
    return re.compile(_BLANK.sub(lambda blank: f"(?P<{blank[1]}>{'|'.join(_VALUES[blank[1]])})", plain))


_EXPRESSIONS = [(kind, _expression(wording)) for kind, wordings in WORDINGS.items() for wording in wordings]
