"""A JSON object in what a language model wrote, held against a schema: found among thoughts and talk, or refused.

Only whole JSON is read. What a model writes instead (single quotes, True, an object that is cut off) is told to it, so
that it can do better, and is never patched: a caption that holds the word "true" has to come through unaltered.

# official code: the last brace group without braces inside, and every true and false in the text replaced.
"""

from __future__ import annotations

import json
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

_LONGEST = 64 * 1024
"""Characters that are looked at, from the end: an answer stands behind the thoughts."""
_MOST_STARTS = 256


class Form(BaseModel):
    """What a model is to fill in; a subclass names the fields. Others may be there, and numbers have to be finite."""

    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)


FormType = TypeVar("FormType", bound=Form)


def filled_form(text: str, form: type[FormType]) -> FormType:
    """The last JSON object of a text that fills a form in.

    Args:
        text: what a model wrote; what stands before ``</think>`` is not looked at.
        form: its fields.

    Raises:
        ValueError: there is no object, or none that fits; says why, so that the model can be told.
    """
    objects = _objects(text.rpartition("</think>")[2][-_LONGEST:])
    if not objects:
        raise ValueError("there is no JSON object in the answer")
    error: ValidationError | None = None
    for found in reversed(objects):
        try:
            return form.model_validate(found)
        except ValidationError as wrong:
            error = error or wrong
    assert error is not None
    first = error.errors(include_url=False, include_input=False)[0]
    field = ".".join(map(str, first["loc"]))
    raise ValueError(f"the field {field!r} of the JSON object is wrong: {first['msg']}")


def _objects(text: str) -> list[dict[str, Any]]:
    """All JSON objects that are not inside of another, in order."""
    decoder, found, start = json.JSONDecoder(), list[dict[str, Any]](), text.find("{")
    for _ in range(_MOST_STARTS):
        if start < 0:
            break
        try:
            value, end = decoder.raw_decode(text, start)
            found.append(value)
        except (ValueError, RecursionError):
            end = start + 1
        start = text.find("{", end)
    return found
