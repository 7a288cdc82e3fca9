"""What the reasoner fills in: the paper's JSON, with whatever is not needed left free."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BeforeValidator

from modules.roles.checked_json import Form

_MOMENT_S = 0.5


def _stretch(value: Any) -> Any:
    """A single second, as a short stretch that begins then: it lies in one open entry and in no other.

    The number of an entry, ``#7``, is the same; what a number means, the notation says
    (`modules.methods.videolucy.notation.Notation`).
    """
    if isinstance(value, str) and re.fullmatch(r"#[0-9]{1,6}", value):
        value = int(value[1:])
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return (value, value + _MOMENT_S) if is_number else value


Period = Annotated[tuple[float, float], BeforeValidator(_stretch)]
"""Start and end in seconds; a model may also write when an entry begins, or its number."""


class Relevant(Form):
    """Which coarse periods a question is about."""

    whole_video: bool = False
    """Whether it can only be answered from all of them."""
    periods: tuple[Period, ...] = ()
    reason: str = ""


class Location(Form):
    """Where to look again, and for what; localization and instruction in one call."""

    period: Period
    instruction: str
    reason: str = ""


class Instruction(Form):
    """For what to look in a period that somebody else has chosen."""

    instruction: str
    reason: str = ""


class Verdict(Form):
    """An answer from what is in the memory."""

    confident: bool
    answer: str
    period: Period | None = None
    """Where the answer is to be found."""
    reason: str = ""
