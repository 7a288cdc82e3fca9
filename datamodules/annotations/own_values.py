"""Values of a person's own file: options, references, groups and evidence in the ways that people write them down."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from datamodules.annotations.choices import as_options
from datamodules.annotations.evidence_spans import Spans, as_spans
from datamodules.annotations.own_columns import group_of
from modules.files.row_files import json_value
from modules.files.rows import as_label, as_number, as_said, as_text


def listed_texts(value: Any, separator: str) -> tuple[str | None, ...]:
    """A list of texts, a JSON list of them, or a text with a separator between them; () where there is nothing.

    Raises:
        ValueError: it is something else.
    """
    if value is None or (isinstance(value, str) and not value.strip()):
        return ()
    if not isinstance(value, str):
        return as_options(value)
    if value.lstrip().startswith("["):
        return as_options(_json_or_text(value))
    parts = [as_said(part).strip() for part in value.split(separator)]
    if len(parts) < 2:
        raise ValueError(f"a list of texts, or a text with {separator!r} between them")
    return tuple(parts)


def reference_texts(value: Any, separator: str) -> tuple[str, ...]:
    """Texts that answer an open question: as `listed_texts`, or one text alone.

    Raises:
        ValueError: it is something else, or one of them is empty.
    """
    is_list = not isinstance(value, str) or value.lstrip().startswith("[") or separator in value
    listed = listed_texts(value, separator) if is_list else (value,) if value.strip() else ()
    return tuple(as_text(text).strip() for text in listed)


def group_labels(fields: Mapping[str, Any]) -> dict[str, str | tuple[str, ...]]:
    """The labels of a row: ``groups`` as an object, or its JSON, and a column ``group_NAME`` for each other.

    Raises:
        ValueError: something else stands there.
    """
    told = fields.get("groups")
    told = _json_or_text(told) if isinstance(told, str) and told.strip() else told or {}
    if not isinstance(told, dict):
        raise ValueError("an object such as {'kind': 'counting'}")
    named = {as_text(name): value for name, value in told.items()}
    named |= {group: value for name, value in fields.items() if (group := group_of(name))}
    return {name: _labels(value) for name, value in named.items() if value is not None and value != ""}


def _labels(value: Any) -> str | tuple[str, ...]:
    return tuple(map(as_label, value)) if isinstance(value, list) else as_label(value)


def evidence_spans(value: Any) -> Spans:
    """Where the answer can be seen: [start, end] in seconds, a list of such pairs, or the JSON of either.

    Raises:
        ValueError: it is something else.
    """
    if isinstance(value, str) and value.strip():
        value = _json_or_text(value)
    if isinstance(value, list) and len(value) == 2 and not any(isinstance(bound, list) for bound in value):
        value = [value]
    return as_spans(value)


def span_between(start: Any, end: Any) -> Spans:
    """The span of two columns in seconds; none where both are blank.

    Raises:
        ValueError: one of them is, or is no number.
    """
    given = [None if isinstance(bound, str) and not bound.strip() else bound for bound in (start, end)]
    if given == [None, None]:
        return ()
    if None in given:
        raise ValueError("two numbers of seconds: evidence_start and evidence_end")
    return as_spans([[as_number(bound) for bound in given]])


def _json_or_text(text: str) -> Any:
    """The value of a JSON text; the text itself where it is none."""
    try:
        return json_value(text)
    except (json.JSONDecodeError, ValueError, RecursionError):
        return text
