"""Options and answers in every form they are published in, brought into one: texts without letters, and an index."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

LETTERS = "ABCDEFGHIJ"
_PREFIX = re.compile(r"^\s*\(?([A-J])(?:\)|[.:])\s*")
_OPTION_LINE = re.compile(r"^\s*(?:\(([A-J])\)|([A-J])[.:)])\s*(.*)$")


def without_letters(options: Sequence[Any]) -> list[str]:
    """Removes "A. ", "(A) " or "A: " where *every* option has its own letter; holes ("N/A", None) are left out."""
    texts = [str(o).strip() for o in options if o is not None and str(o).strip() not in ("", "N/A")]
    marks = [_PREFIX.match(t) for t in texts]
    lettered = all(m is not None and m[1] == LETTERS[i] for i, m in enumerate(marks))
    return [t[m.end() :].strip() if lettered and m else t for t, m in zip(texts, marks, strict=True)]


def split_question(text: str) -> tuple[str, list[str]]:
    """Question and options of a text that ends in option lines "(A) ..." or "A. ...".

    The options are the lines lettered A, B, C, ... in a row; a question that has a line beginning with "A " or with a
    lone "A." keeps it.
    """
    lines = text.strip().splitlines()
    starts = [i for i, line in enumerate(lines) if (m := _OPTION_LINE.match(line)) and (m[1] or m[2]) == "A"]
    for start in reversed(starts):
        options: list[str] = []
        for line in lines[start:]:
            match = _OPTION_LINE.match(line)
            if match and len(options) < len(LETTERS) and (match[1] or match[2]) == LETTERS[len(options)]:
                options.append(match[3].strip())
            elif line.strip():
                break  # an instruction behind the options
        if len(options) >= 2:
            return "\n".join(lines[:start]).strip(), options
    return text.strip(), []


def find_answer(answer: Any, options: Sequence[str], repairs: Counter[str]) -> int | None:
    """Index of the right option, from a letter, a 0-based index or the option's text.

    A text that several options have is the first of them; one that none has is None. Both are counted.
    """
    if answer is None or answer == "":
        return None
    if isinstance(answer, (int, float)) or (
        isinstance(answer, str) and answer.strip().isdigit() and answer not in options
    ):
        index = int(answer)
        return index if 0 <= index < len(options) else None
    text = str(answer).strip()
    bare = re.fullmatch(r"\(?([A-Ja-j])\)?[.:]?", text)
    same = [i for i, option in enumerate(options) if _plain(option) == _plain(text)]
    if not same and bare and LETTERS.index(bare[1].upper()) < len(options):
        return LETTERS.index(bare[1].upper())
    if not same and (lettered := _PREFIX.match(text)):  # "A. the option's text"
        index = LETTERS.index(lettered[1])
        if index < len(options):
            return index
    if len(same) > 1:
        repairs["several options have the answer's text; the first is taken"] += 1
    if not same:
        repairs["the answer is none of the options; kept without an answer"] += 1
        return None
    return same[0]


def _plain(text: str) -> str:
    """For comparison: case, outer quotes, spaces and a final full stop do not matter."""
    return " ".join(text.lower().replace('"', "").replace("'", "").split()).rstrip(".")
