"""Options and answers in every form they are published in, brought into one: texts without letters, and an index.

An answer names a *place* among the options as they were published, so places are kept where options are left out
("N/A", empty, null). What an answer means that is one option's letter and another's text is the layout's convention;
an answer that has two meanings under it is refused, and one that has none is lost, which is counted.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import PlainValidator

from modules.files.rows import as_label, as_said, as_whole
from modules.parsing import LETTERS

Convention = Literal["letter", "text", "either"]
"""How a layout gives its answers. An answer that is one option's letter and another's text is the letter under
``letter``, the text under ``text``, and refused under ``either``."""
_PREFIX = re.compile(r"\s*\(?([A-J])(?:\)|[.:])\s*")
_OPTION_LINE = re.compile(r"\s*(?:\(([A-Z])\)|([A-Z])[.:)])(.*)", re.DOTALL)
_LETTER = re.compile(r"\(?([A-Za-z])\)?[.:]?")
_HOLES = ("", "N/A")
_MAX_LITERAL = 100_000
"""Characters of a list in a table's cell."""


def as_options(value: Any) -> tuple[str | None, ...]:
    """A list of texts or numbers, or the Python literal of one, as texts; null where there is none.

    Raises:
        ValueError: it is something else, such as a text, which is no list of its letters.
    """
    listed = _literal(value) if isinstance(value, str) else value
    if not isinstance(listed, (list, tuple)):
        raise ValueError("a list of texts")
    return tuple(None if o is None else as_said(o) if isinstance(o, str) else as_label(o) for o in listed)


Options = Annotated[tuple[str | None, ...], PlainValidator(as_options)]
OptionsIfAny = Annotated[
    tuple[str | None, ...], PlainValidator(lambda value: () if value is None or value == "" else as_options(value))
]


def _literal(text: str) -> Any:
    """The value of a Python literal; None where a text is none."""
    if len(text) > _MAX_LITERAL:
        return None
    try:
        with warnings.catch_warnings(action="ignore"):  # an unknown escape is a backslash
            return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None


@dataclass(frozen=True)
class Choices:
    """The options that are there."""

    texts: tuple[str, ...]
    """Without letters, where every option had its own."""
    places: tuple[int, ...]
    """Where each stands among the published ones, of which some may be holes."""
    letters: tuple[str | None, ...]
    """What each begins with that looks like a letter but is not that of its place; None where there is nothing."""

    def at(self, place: int) -> int:
        """Index of the option of a place.

        Raises:
            ValueError: there is none.
        """
        if place in self.places:
            return self.places.index(place)
        raise ValueError(f"an option that is there, by place {', '.join(map(str, self.places))} (from 0)")

    def lettered(self, letter: str) -> int:
        """Index of the option of a letter.

        Raises:
            ValueError: there is none, or the options are written with other letters than those of their places.
        """
        place = ord(letter.upper()) - ord("A")
        if place not in self.places:
            raise ValueError(f"an option that is there, by letter {', '.join(chr(ord('A') + p) for p in self.places)}")
        written = [i for i, found in enumerate(self.letters) if found == letter.upper()]
        if (written or (self.letters and None not in self.letters)) and written != [self.at(place)]:
            raise ValueError("a letter with one meaning; the options are written with letters of other places")
        return self.at(place)

    def same_as(self, text: str) -> list[int]:
        """Indices of the options that a text is: exactly, or else but for case, quotes, spaces and a final stop."""
        exactly = [i for i, option in enumerate(self.texts) if option == text]
        return exactly or [i for i, option in enumerate(self.texts) if plain(option) == plain(text)]


def choices_of(listed: Sequence[str | None]) -> Choices:
    """Leaves out holes, and "A. ", "(A) " or "A: " where every option has its own letter."""
    there: list[tuple[int, str, str | None, str]] = []
    for place, text in enumerate("" if o is None else o.strip() for o in listed):
        mark = _PREFIX.match(text)
        own = mark is not None and LETTERS[place : place + 1] == mark[1]
        rest = text[mark.end() :].strip() if mark else text
        if (rest if own else text) not in _HOLES:
            there.append((place, text, mark[1] if mark else None, rest))
    lettered = all(letter is not None and letter == LETTERS[p : p + 1] for p, _, letter, _ in there)
    return Choices(
        texts=tuple(rest if lettered else text for _, text, _, rest in there),
        places=tuple(place for place, *_ in there),
        letters=() if lettered else tuple(letter for _, _, letter, _ in there),
    )


def split_question(text: str) -> tuple[str, list[str]]:
    """Question and options of a text that ends in option lines "(A) ..." or "A. ...".

    The options are the lines lettered A, B, C, ... in a row; a question that has a line beginning with "A " or with a
    lone "A." keeps it. What stands behind the options is an instruction, and goes.
    """
    question, options, _ = _split(text)
    return question, options


def question_and_choices(text: str, listed: Sequence[str | None] = ()) -> tuple[str, Choices]:
    """Question without options, and the options that are listed beside it or stand inside of it.

    Raises:
        ValueError: the options inside do not go on as they began, or are not those that are listed.
    """
    question, inside, behind = _split(text)
    around = [*(question.splitlines()[-1:] if inside else []), *behind]
    further = next(
        (line for line in around if (mark := _OPTION_LINE.match(line)) and (mark[1] or mark[2]) != "A"), None
    )
    if further is not None:
        raise ValueError(f"options lettered in a row, each on a line; beside {len(inside)} of them is {further!r:.60}")
    choices = choices_of(listed or inside)
    if listed and inside and list(map(plain, choices.texts)) != list(map(plain, choices_of(inside).texts)):
        raise ValueError(f"the same options inside the question as beside it, where there are {list(listed)!r:.120}")
    return question, choices


def _split(text: str) -> tuple[str, list[str], list[str]]:
    """Question, options, and the lines behind them."""
    lines = text.strip().splitlines()
    marks = [_OPTION_LINE.match(line) for line in lines]
    letters = [m[1] or m[2] if m else "" for m in marks]
    for start in reversed([i for i, letter in enumerate(letters) if letter == "A"]):
        options: list[str] = []
        end = start
        for end in range(start, len(lines)):
            mark = marks[end]
            if mark and letters[end] == chr(ord("A") + len(options)):
                options.append(mark[3].strip())
            elif lines[end].strip():
                break  # an instruction behind the options
        else:
            end = len(lines)
        if len(options) >= 2:
            return "\n".join(lines[:start]).strip(), options, lines[end:]
    return text.strip(), [], []


def find_place(place: Any, choices: Choices) -> int | None:
    """Index of the right option from its place, 0-based; None where none is given.

    Raises:
        ValueError: it is no whole number, or no option stands there.
    """
    if place is None or (isinstance(place, str) and not place.strip()):
        return None
    return choices.at(as_whole(place))


def find_answer(answer: Any, choices: Choices, convention: Convention, repairs: Counter[str]) -> int | None:
    """Index of the right option from a letter ("B", "(b)"), the option's text, or both ("B. text").

    Args:
        answer: as published.
        choices: among which.
        convention: of the layout.
        repairs: gets how the answer was put right: a text that several options have is the first of them.

    Returns:
        None where no answer is given, or none of the options.

    Raises:
        ValueError: it is neither text nor number, the letter of no option, or has two meanings.
    """
    if answer is None or (isinstance(answer, str) and not answer.strip()):
        return None
    text = as_label(answer).strip()
    lettered, same = _lettered(text, choices), choices.same_as(text)
    if convention == "either" and same and lettered is not None and lettered not in same:
        raise ValueError("an answer that is not one option's letter and another's text")
    if lettered is not None and not (convention == "text" and same):
        if convention == "text":
            repairs["the answer is an option's letter where its text was expected"] += 1
        return lettered
    if len(same) > 1:
        repairs["several options have the answer's text; the first is taken"] += 1
    if same and convention == "letter":
        repairs["the answer is an option's text where its letter was expected"] += 1
    if not same and convention != "text" and (letter := _LETTER.fullmatch(text)):
        return choices.lettered(letter[1])  # there is none
    if not same and (mark := _PREFIX.match(text)) and choices.same_as(text[mark.end() :].strip()):
        raise ValueError("the letter and the text of one option")
    return same[0] if same else None


def _lettered(text: str, choices: Choices) -> int | None:
    """Index of the option that "B" or "B. text" names; None where no option has that letter, or none that text, too."""
    letter, mark = _LETTER.fullmatch(text), _PREFIX.match(text)
    if letter is not None and ord(letter[1].upper()) - ord("A") in choices.places:
        return choices.lettered(letter[1])
    if mark is None or ord(mark[1]) - ord("A") not in choices.places:
        return None
    index = choices.places.index(ord(mark[1]) - ord("A"))
    return choices.lettered(mark[1]) if index in choices.same_as(text[mark.end() :].strip()) else None


def plain(text: str) -> str:
    """For comparison: case, quotes, spaces and a final full stop do not matter."""
    return " ".join(text.lower().replace('"', "").replace("'", "").split()).rstrip(".")
