"""The answer of a person's own row: a letter, an option's text, or a number that says from where it counts."""

from __future__ import annotations

from collections import Counter
from typing import Any, Literal

from datamodules.annotations.choices import Choices, Convention, find_answer
from modules.files.rows import as_label, as_whole

Answers = Literal["any", "letter", "text", "index_from_0", "index_from_1"]
"""How a file writes its answers; ``any`` is a letter or a text, and an answer that could be two options is refused."""
_CONVENTIONS: dict[Answers, Convention] = {"any": "either", "letter": "letter", "text": "text"}
_FIRST: dict[Answers, int] = {"index_from_0": 0, "index_from_1": 1}


def own_answer(answer: Any, choices: Choices, written: Answers, repairs: Counter[str]) -> int | None:
    """Index of the right option; None where no answer is given.

    Args:
        answer: as it stands in the row.
        choices: among which.
        written: how answers are written.
        repairs: gets what was put right.

    Raises:
        ValueError: it is none of the options, or could be two of them.
    """
    if answer is None or (isinstance(answer, str) and not answer.strip()):
        return None
    if written in _FIRST:
        return _numbered(as_whole(answer), choices, _FIRST[written], written)
    try:
        index = find_answer(answer, choices, _CONVENTIONS[written], repairs)
    except ValueError as error:
        advice = " (`answers: letter` or `answers: text` says which it is)" if written == "any" else ""
        raise ValueError(f"{error}{advice}") from error
    if written == "any":
        _refuse_number(answer, index, choices)
    if len(same := choices.same_as(as_label(answer).strip())) > 1 and index in same:
        raise ValueError(f"the letter, or a text that one option has alone; {len(same)} options have this one")
    if index is None:
        raise ValueError(f"an option's letter or its text; the options are {', '.join(choices.texts):.120}")
    return index


def _numbered(number: int, choices: Choices, first: int, written: Answers) -> int:
    if number - first not in choices.places:
        there = ", ".join(str(place + first) for place in choices.places)
        raise ValueError(f"the number of an option that is there: {there} (`answers: {written}`)")
    return choices.at(number - first)


def _refuse_number(answer: Any, index: int | None, choices: Choices) -> None:
    """A number may be an option's text, and its place from 0 or from 1; where these differ, nobody has said which."""
    try:
        number = as_whole(answer)
    except ValueError:
        return
    places = {choices.at(place) for place in (number, number - 1) if place in choices.places}
    if index is None or not places <= {index}:
        raise ValueError(
            "a letter or an option's text; where numbers count the options, `answers: index_from_0` or `index_from_1` "
            "says from where, and where they are the options, `answers: text`"
        )
