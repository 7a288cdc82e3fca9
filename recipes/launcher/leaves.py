"""Plain values of a recipe: numbers, texts and choices, which jsonargparse judges as it will when a run is built."""

from __future__ import annotations

import enum
import functools
import math
import re
import typing
from pathlib import Path
from typing import Any, get_args, get_origin

import jsonargparse
from jsonargparse.typing import get_registered_type

from recipes.launcher.source.read_annotations import members_of


def is_leaf(annotation: Any) -> bool:
    """Whether an annotation is of values that name no class: numbers, texts, choices."""
    if get_origin(annotation) is typing.Literal:
        return True
    return (
        isinstance(annotation, type)
        and get_origin(annotation) is None
        and (
            issubclass(annotation, bool | int | float | str | enum.Enum | Path) or bool(get_registered_type(annotation))
        )
    )


def takes_text(annotation: Any) -> bool:
    """Whether a plain value of that annotation may be a text."""
    if get_origin(annotation) is typing.Literal:
        return any(isinstance(choice, str) for choice in get_args(annotation))
    return not issubclass(annotation, bool | int | float)


def of_leaf(key: str, value: Any, annotation: Any) -> list[str]:
    """jsonargparse's judgement of one plain value."""
    numbers_only = not any(takes_text(member) for member in members_of(annotation))
    if isinstance(value, str) and numbers_only:
        return [f"{key}: {value!r:.100} is text where a number is wanted{_unquoted(value)}"]
    try:
        parsed = _parser(annotation).parse_object({"value": value}).value
    except (jsonargparse.ArgumentError, TypeError, ValueError, OSError, OverflowError) as error:
        message = " ".join(str(error).split())
        reason = re.sub(r"^.*?Parser key \"value\":\s*", "", message)
        return [f"{key}: {value!r:.100}: {reason:.300}"]
    if isinstance(parsed, float) and not math.isfinite(parsed):
        return [f"{key}: {value!r:.100} is not finite"]
    return []


def _unquoted(text: str) -> str:
    """What to do with a text that would be a number."""
    try:
        float(text)
    except ValueError:
        return ""
    return "; write it without quotes"


@functools.cache
def _parser(annotation: Any) -> jsonargparse.ArgumentParser:
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("--value", type=annotation)
    return parser
