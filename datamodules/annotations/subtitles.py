"""Subtitles in the three forms the benchmarks publish, as (start, end, text) in seconds of the video file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import PlainValidator

from modules.files.row_files import read_json
from modules.files.rows import MAX_SECONDS, Fields, FileError, Row, Said, as_number, read

Subtitle = tuple[float, float, str]
_TAG = re.compile(r"<[^<>]*>|\{\\[^{}]*\}")
_CLOCK = re.compile(r"[0-9]{1,7}(?::[0-9]{1,2}){0,2}(?:[.,][0-9]{0,9})?")


def seconds(clock: str) -> float:
    """ "H:MM:SS.mmm", "MM:SS,mmm" or "SS" in seconds.

    Raises:
        ValueError: it is something else.
    """
    if not _CLOCK.fullmatch(clock):
        raise ValueError("a time such as 1:02:03.5")
    total = 0.0
    for part in clock.replace(",", ".").split(":"):
        total = 60 * total + float(part)
    return total


def read_subtitles(path: Path, offset_s: float = 0.0, duration_s: float = 0.0) -> tuple[Subtitle, ...]:
    """Subtitles of a file; () where there is none (many videos have none).

    Args:
        path: ``.srt``, or LongVideoBench's JSON in either of its shapes: ``{start, end, line}`` with clock times, or
            ``{timestamp: [start, end], text}`` in seconds where the end may be missing.
        offset_s: the time in the file at which the video starts (LongVideoBench cuts videos, not subtitles).
        duration_s: stands for a missing end.

    Raises:
        FileError: the file is broken; names it and the place.
    """
    if not path.is_file():
        return ()
    found = _srt(path) if path.suffix == ".srt" else _json(path, offset_s + duration_s)
    shifted = ((start - offset_s, end - offset_s, said) for start, end, said in found if said)
    return tuple(sorted((s, e, said) for s, e, said in shifted if e >= 0))


def _srt(path: Path) -> list[Subtitle]:
    """What is said under each line with an arrow, up to the next blank line."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (ValueError, OSError) as error:
        raise FileError(f"subtitles {path} cannot be read: {error}") from error
    found: list[tuple[float, float, list[str]]] = []
    said: list[str] | None = None
    for number, line in enumerate(lines, 1):
        if said is None and "-->" in line:
            said = []
            found.append((*_times(path, number, line), said))
        elif not line.strip():
            said = None
        elif said is not None:
            said.append(_TAG.sub("", line).strip())
    return [(start, end, " ".join(words).strip()) for start, end, words in found]


def _times(path: Path, number: int, line: str) -> tuple[float, float]:
    start, _, rest = line.partition("-->")
    row = Row(path, f"line {number}", number, line)
    with row.reading("times", line):
        return _ordered(seconds(start.strip()), seconds((rest.split() or [""])[0]))


def _ordered(start: float, end: float) -> tuple[float, float]:
    if not 0 <= start <= end <= MAX_SECONDS:
        raise ValueError("a start and an end behind it, in seconds, finite, 0 or more")
    return start, end


def _clock(value: Any) -> float:
    return seconds(value if isinstance(value, str) else "")


def _span(value: Any) -> tuple[float, float | None]:
    """[start, end] in seconds; the end may be missing."""
    if not isinstance(value, list) or len(value) != 2:
        raise ValueError("[start, end] in seconds")
    start, end = as_number(value[0]), None if value[1] is None else as_number(value[1])
    _ordered(start, start if end is None else end)
    return start, end


class _Clocked(Fields):
    start: Annotated[float, PlainValidator(_clock)]
    end: Annotated[float, PlainValidator(_clock)]
    line: Said


class _Timed(Fields):
    timestamp: Annotated[tuple[float, float | None], PlainValidator(_span)]
    text: Said


def _json(path: Path, last_s: float) -> list[Subtitle]:
    records = read_json(path, "subtitles")
    if not isinstance(records, list):
        raise FileError(f"subtitles {path} cannot be read: a list was expected")
    return [_record(Row(path, f"row {n}", n, record), last_s) for n, record in enumerate(records, 1)]


def _record(row: Row, last_s: float) -> Subtitle:
    if isinstance(row.content, dict) and "timestamp" in row.content:
        timed = read(_Timed, row)
        start, end = timed.timestamp
        return start, max(start, last_s) if end is None else end, timed.text.strip()
    clocked = read(_Clocked, row)
    with row.reading("end", clocked.end):
        return *_ordered(clocked.start, clocked.end), clocked.line.strip()
