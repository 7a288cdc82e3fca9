"""Where an answer can be seen: spans in seconds, inside of the video."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Any

from pydantic import PlainValidator

from modules.files.rows import MAX_SECONDS, as_number

Spans = tuple[tuple[float, float], ...]


def as_spans(value: Any) -> Spans:
    """A list of [start, end] as pairs of seconds; empty where there is none.

    Raises:
        ValueError: it is something else.
    """
    try:
        return tuple(_span(pair) for pair in value) if isinstance(value, (list, tuple)) else _none(value)
    except ValueError as error:
        raise ValueError("a list of [start, end] in seconds, finite, 0 or more") from error


SpansIfAny = Annotated[Spans, PlainValidator(as_spans)]


def _span(pair: Any) -> tuple[float, float]:
    if not isinstance(pair, (list, tuple)) or len(pair) != 2:
        raise ValueError(pair)
    start, end = as_number(pair[0]), as_number(pair[1])
    if not (0 <= start <= MAX_SECONDS and 0 <= end <= MAX_SECONDS):
        raise ValueError(pair)
    return start, end


def _none(value: Any) -> Spans:
    if value is None or value == "":
        return ()
    raise ValueError(value)


def within(spans: Spans, duration_s: float, repairs: Counter[str], slack_s: float = 1.0) -> Spans:
    """Spans put right, and counted: turned round where the end comes first, cut where it comes after the video's.

    Args:
        spans: in seconds.
        duration_s: of the video; 0 where it is not known.
        repairs: gets what was put right.
        slack_s: how far the annotated duration may be off.

    Raises:
        ValueError: a span begins behind the end of the video.
    """
    last_s = duration_s + slack_s if duration_s else MAX_SECONDS
    put_right = []
    for start, end in spans:
        if end < start:
            repairs["the evidence ends before it starts; turned round"] += 1
            start, end = end, start
        if start > last_s:
            raise ValueError(f"evidence inside of the video's {duration_s:g} s")
        if end > last_s:
            repairs["the evidence ends after the video; cut at its end"] += 1
            end = max(start, duration_s)
        put_right.append((start, end))
    return tuple(put_right)
