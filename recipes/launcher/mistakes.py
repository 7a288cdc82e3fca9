"""What is said of a recipe that is wrong."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Iterable
from typing import Any

import yaml

_MOST_SHOWN, _LONGEST_SHOWN = 50, 800  # mistakes, and characters of each
_NO_LIMIT = 1_000_000


class RecipeError(ValueError):
    """One or more mistakes in a recipe, a line each."""

    def __init__(self, source: str, mistakes: list[str]) -> None:
        count = "1 mistake" if len(mistakes) == 1 else f"{len(mistakes)} mistakes"
        more = [f"and {len(mistakes) - _MOST_SHOWN} more"] if len(mistakes) > _MOST_SHOWN else []
        lines = [_printable(f"{mistake:.{_LONGEST_SHOWN}}") for mistake in [*mistakes[:_MOST_SHOWN], *more]]
        super().__init__(f"{source} has {count}:\n" + "\n".join(f"  {line}" for line in lines))
        self.mistakes = mistakes


def unknown(key: str, name: str, known: Iterable[str]) -> str:
    """What to say of a key that is not there."""
    close = difflib.get_close_matches(name, list(known), 1)
    hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(sorted(known))}"
    return f"{key}: no such key; {hint}"


def written(content: dict[str, Any]) -> str:
    """Keys and values as somebody would write them into a recipe, on one line."""
    return yaml.safe_dump(content, default_flow_style=True, sort_keys=False, width=_NO_LIMIT).strip()[1:-1]


def first_line(error: Exception) -> str:
    """The first line of an error's text: OmegaConf adds several about itself."""
    return str(error).partition("\n")[0]


def reason_of(error: BaseException) -> str:
    """What went wrong, in the words of whoever noticed; the parser that built it adds every value it was given."""
    from modules.files.whole_files import storage_reason

    inner = error
    while isinstance(inner, argparse.ArgumentError) or "Given value type" in str(inner):
        cause = inner.__cause__ or inner.__context__
        if cause is None:
            break
        inner = cause
    return storage_reason(inner) or str(inner)


def _printable(line: str) -> str:
    """A stranger's text without commands to the terminal."""
    return "".join(character if character.isprintable() else "\ufffd" for character in line)
