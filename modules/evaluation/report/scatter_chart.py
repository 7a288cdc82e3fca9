"""Right answers against what they cost, as the geometry of a small picture; `templates/chart.svg.j2` draws it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from modules.evaluation.report.marks import Mark

WIDTH, HEIGHT = 420.0, 300.0
LEFT, RIGHT, TOP, BOTTOM = 46.0, 58.0, 14.0, 46.0
_ROOM = 50.0
"""Units that a label of the horizontal axis takes."""


@dataclass(frozen=True)
class Point:
    """One system."""

    label: str
    mark: Mark
    cost: float
    value: float
    low: float
    high: float
    is_yardstick: bool = False
    line: str = ""
    """Points of one line are joined: one method at several costs."""


@dataclass(frozen=True)
class Placed:
    """A point in the picture's units."""

    point: Point
    x: float
    y: float
    y_low: float
    y_high: float
    title: str


@dataclass(frozen=True)
class Chart:
    """All that is drawn."""

    title: str
    finding: str
    """What it shows, in half a sentence."""
    x_title: str
    points: list[Placed]
    lines: list[tuple[str, str]]
    """(colour, points of a polyline)."""
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]
    levels: list[tuple[str, float]]
    """(name, y) of floor and ceiling."""
    left_out: list[str] = field(default_factory=list)
    """Systems whose cost is not known or nothing, which a logarithmic axis has no place for."""


def chart(
    title: str, x_title: str, points: Sequence[Point], levels: Sequence[tuple[str, float]], seconds: bool = False
) -> Chart | None:
    """The geometry; None where no system has a cost, or all have the same.

    Args:
        title: what is to be seen.
        x_title: the horizontal axis with its unit.
        points: the systems.
        levels: (name, value) of horizontal lines, such as the floor and the ceiling.
        seconds: label the horizontal axis in milliseconds and seconds.
    """
    known = [p for p in points if math.isfinite(p.cost) and p.cost > 0 and math.isfinite(p.value)]
    if len({p.cost for p in known}) < 2:
        return None
    low, high = min(p.cost for p in known), max(p.cost for p in known)
    margin = max((math.log(high) - math.log(low)) * 0.06, 0.05)
    start, end = math.log(low) - margin, math.log(high) + margin
    top = max([1.0, *(p.value for p in known), *(p.high for p in known if math.isfinite(p.high))])
    top = 1.0 if top <= 1.0 else top * 1.05

    def x_of(cost: float) -> float:
        return round(LEFT + (math.log(cost) - start) / (end - start) * (WIDTH - LEFT - RIGHT), 1)

    def y_of(value: float) -> float:
        return round(TOP + (1 - value / top) * (HEIGHT - TOP - BOTTOM), 1)

    def ends(p: Point) -> tuple[float, float]:
        return (y_of(p.low), y_of(p.high)) if math.isfinite(p.low) else (y_of(p.value), y_of(p.value))

    told = _seconds if seconds else _plain
    placed = [
        Placed(p, x_of(p.cost), y_of(p.value), *ends(p), f"{p.label}: {100 * p.value:.1f} % at {told(p.cost)}")
        for p in known
    ]
    lines = []
    for name in dict.fromkeys(p.line for p in known if p.line):
        own = sorted((one for one in placed if one.point.line == name), key=lambda one: one.x)
        if len(own) > 1:
            lines.append((own[0].point.mark.colour, " ".join(f"{one.x},{one.y}" for one in own)))
    return Chart(
        title=title,
        finding=_finding(known, told if seconds else lambda cost: f"{_plain(cost)} frames"),
        x_title=x_title,
        points=placed,
        lines=lines,
        x_ticks=[(x_of(tick), told(tick)) for tick in _ticks(math.exp(start), math.exp(end))],
        y_ticks=[(y_of(top * n / 5), f"{100 * top * n / 5:.0f} %") for n in range(6)],
        levels=[(name, y_of(value)) for name, value in levels],
        left_out=[p.label for p in points if p not in known],
    )


def _finding(known: Sequence[Point], told: Callable[[float], str]) -> str:
    """What the best one costs, and the least one of those that no other beats at its cost or below."""
    taking_part = [p for p in known if not p.is_yardstick] or known
    best = max(taking_part, key=lambda p: p.value)
    others = [p for p in taking_part if p.cost < best.cost]
    said = f"{best.label} is right most often and takes {told(best.cost)}"
    if not others:
        return f"{said}, and nothing takes less" if len(taking_part) > 1 else said
    cheaper = max(others, key=lambda p: p.value)
    return f"{said}; of those that take less, {cheaper.label} is next ({told(cheaper.cost)})"


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers between two that leave each other room: 1, 2, 3, 5, 10 ... where they fit, else powers of ten."""
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    found: list[float] = []
    for steps in ((1, 2, 3, 4, 5, 6, 8), (1, 2, 3, 5), (1, 2, 5), (1, 3), (1,)):
        found = [step * 10.0**e for e in exponents for step in steps]
        found = [tick for tick in found if low <= tick <= high]
        gaps = [math.log(b / a) / math.log(high / low) for a, b in pairwise(found)]
        if not gaps or min(gaps) * (WIDTH - LEFT - RIGHT) >= _ROOM:
            return found
    return found[:: math.ceil(len(found) / 8)]


def _plain(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _seconds(value: float) -> str:
    return f"{_plain(value)} s" if value >= 1 else f"{1000 * value:.3g} ms"
