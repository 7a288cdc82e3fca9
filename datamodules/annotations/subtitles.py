"""Subtitles in the three forms the benchmarks publish, as (start, end, text) in seconds of the video file."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

Subtitle = tuple[float, float, str]
_TAG = re.compile(r"<[^>]*>|\{\\[^}]*\}")
_SRT_TIMES = re.compile(r"([\d:.,]+)\s*-->\s*([\d:.,]+)")


def seconds(clock: str) -> float:
    """ "H:MM:SS.mmm", "MM:SS,mmm" or "SS" in seconds."""
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
        ValueError: the file is broken.
    """
    if not path.is_file():
        return ()
    try:
        text = path.read_text(encoding="utf-8-sig")
        lines = _srt(text) if path.suffix == ".srt" else [_record(r, offset_s, duration_s) for r in json.loads(text)]
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise ValueError(f"subtitles {path} cannot be read: {error!r}") from error
    shifted = ((start - offset_s, end - offset_s, said) for start, end, said in lines if said)
    return tuple(sorted((s, e, said) for s, e, said in shifted if e >= 0))


def _srt(text: str) -> list[Subtitle]:
    found = []
    for block in re.split(r"\n\s*\n", text.replace("\r", "")):
        lines = block.strip().splitlines()
        for n, line in enumerate(lines):
            if match := _SRT_TIMES.search(line):
                said = " ".join(_TAG.sub("", part).strip() for part in lines[n + 1 :]).strip()
                found.append((seconds(match[1]), seconds(match[2]), said))
                break
    return found


def _record(record: dict[str, Any], offset_s: float, duration_s: float) -> Subtitle:
    if "timestamp" in record:
        start, end = record["timestamp"]
        return float(start), float(end) if end is not None else offset_s + duration_s, str(record["text"]).strip()
    return seconds(record["start"]), seconds(record["end"]), str(record["line"]).strip()
