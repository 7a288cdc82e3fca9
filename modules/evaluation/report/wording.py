"""Numbers, times and texts as a report prints them, and its headline."""

from __future__ import annotations

import math
from collections.abc import Sequence

from modules.evaluation.gaps import CEILING, FLOOR
from modules.evaluation.report.contestants import Contest, is_yardstick
from modules.evaluation.report.numbers import Standing, yardstick


def percent(value: float | None) -> str:
    """``71.4 %``; a dash where it is not known."""
    return "\u2013" if value is None or math.isnan(value) else f"{_signed(f'{100 * value:.1f}')} %"


def points(value: float) -> str:
    """A difference in percentage points, with its sign."""
    return "\u2013" if math.isnan(value) else _signed(f"{100 * value:+.1f}")


def _signed(text: str) -> str:
    return text.lstrip("+-") if float(text) == 0 else text.replace("-", "\u2212")


def number(value: float | None) -> str:
    """Three digits, or whole with commas."""
    if value is None:
        return "not told"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def clock(seconds: float) -> str:
    """``75.0 s`` or, from ten minutes on, ``1:15:00``."""
    return f"{seconds:.1f} s" if seconds < 600 else _hours(seconds)


def axis(seconds: float) -> str:
    """``15 s`` or, from a minute on, ``1:15``; as labels of an axis stand."""
    return f"{seconds:.0f} s" if 0 < seconds < 60 else _hours(seconds)


def _hours(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def cut(text: str, longest: int) -> str:
    """A text that is not too long, and says what is missing."""
    return text if len(text) <= longest else f"{text[:longest]} \u2026 ({len(text) - longest:,} more characters)"


def plain(text: str) -> str:
    """Without the control characters that HTML forbids."""
    return text.translate(dict.fromkeys((*range(9), 11, 12, *range(14, 32), *range(127, 160)), "�"))


FILTERS = {
    "percent": percent,
    "points": points,
    "number": number,
    "clock": clock,
    "axis": axis,
    "cut": cut,
}
"""What the templates may use."""


def headline(contest: Contest, found: Sequence[Standing]) -> str:
    """What was found, in one sentence."""
    best = next((s for s in found if not is_yardstick(s.contestant)), found[0])
    said = [f"{best.contestant.label} is right on {percent(best.right.value)} of {len(contest.questions)} questions"]
    for name, words in ((FLOOR, "uniform frames"), (CEILING, "the oracle")):
        one = yardstick(contest, name, best.contestant)
        if one is not None and one is not best.contestant:
            said.append(f"{words} on {percent(next(s.right.value for s in found if s.contestant is one))}")
    return ", ".join(said)


def facts(contest: Contest) -> list[tuple[str, str]]:
    """What the runs' cards say of the conditions; several values where the runs do not agree."""
    videos = len(set(contest.videos))
    found = [
        ("data set", ", ".join(sorted({f"{a.dataset}/{a.split}" for a in contest.questions}))),
        ("questions", f"{len(contest.questions)} on {videos} {'video' if videos == 1 else 'videos'}"),
        ("scorer", contest.scorer.name),
    ]
    for name in ("num_frames", "mllm", "frame_size", "grid", "encoder", "right without a model", "versions"):
        values = list(dict.fromkeys(_told(run.card[name]) for run in contest.runs if name in run.card))
        if values:
            found.append((name.replace("_", " "), "; ".join(values)))
    return found


def _told(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {item}" for key, item in value.items())
    return str(value)
