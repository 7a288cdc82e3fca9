"""Right answers of every system in every world, as the geometry of one picture a world; all have the same axis and the
same order of systems, so that a row of pictures can be read across; `templates/world_panel.svg.j2` draws it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from modules.evaluation.aggregate import Line
from modules.evaluation.gaps import CEILING, FLOOR
from modules.evaluation.report.marks import Mark
from modules.evaluation.report.wording import percent
from modules.evaluation.report.worlds_table import WorldStandings

LEFT, RIGHT, TOP, ROW, BELOW = 150.0, 400.0, 8.0, 19.0, 42.0
WIDTH = 420.0
_LONGEST = 19
"""Letters that there is room for on the left."""


@dataclass(frozen=True)
class Dot:
    """One system in the units of the picture."""

    label: str
    """As far as there is room for it."""
    title: str
    mark: Mark
    y: float
    x: float | None
    """None where the system was missing."""
    x_low: float
    x_high: float


@dataclass(frozen=True)
class Panel:
    """One world, or the mean over all of them."""

    title: str
    finding: str
    """Who is best, in half a sentence."""
    dots: list[Dot]
    levels: list[float]
    """x of the floor and the ceiling."""
    ticks: list[tuple[float, str]]

    @property
    def bottom(self) -> float:
        """Where the rows end."""
        return TOP + ROW * len(self.dots)

    @property
    def height(self) -> float:
        return self.bottom + BELOW


def panels(table: Sequence[WorldStandings], worlds: Sequence[str]) -> list[Panel]:
    """One of each world, and one of the mean where any system has it.

    Args:
        table: whose rows are drawn in their order.
        worlds: names of its columns.
    """
    columns = [
        (world, [(one, cell.right if (cell := one.cells[place]) else None) for one in table])
        for place, world in enumerate(worlds)
    ]
    if means := [(one, one.mean) for one in table if one.mean is not None]:
        columns.append(("mean over worlds", [*means]))
    drawn = [v for _, rows in columns for _, line in rows if line for v in (line.value, line.high) if math.isfinite(v)]
    top = max([1.0, *drawn])
    return [_panel(title, rows, 1.0 if top <= 1.0 else top * 1.05) for title, rows in columns]


def _panel(title: str, rows: Sequence[tuple[WorldStandings, Line | None]], top: float) -> Panel:
    def x_of(value: float) -> float:
        return round(LEFT + value / top * (RIGHT - LEFT), 1)

    known = [(one, line) for one, line in rows if line is not None]
    best, line = max([pair for pair in known if not pair[0].is_yardstick] or known, key=lambda pair: pair[1].value)
    return Panel(
        title=title,
        finding=f"{best.row.label} is right most often: {percent(line.value)}",
        dots=[_dot(n, one, line, x_of) for n, (one, line) in enumerate(rows)],
        levels=[x_of(line.value) for one, line in known if one.row.system in (FLOOR, CEILING)],
        ticks=[(x_of(top * n / 5), f"{100 * top * n / 5:.0f} %") for n in range(6)],
    )


def _dot(n: int, one: WorldStandings, line: Line | None, x_of: Callable[[float], float]) -> Dot:
    label, y = one.row.label, TOP + ROW * (n + 0.5)
    short = label if len(label) <= _LONGEST else f"{label[: _LONGEST // 2]}\u2026{label[-(_LONGEST // 2) :]}"
    if line is None:
        return Dot(short, f"{label}: missing", one.mark, y, None, 0.0, 0.0)
    x = x_of(line.value)
    if not math.isfinite(line.low):
        return Dot(short, f"{label}: {percent(line.value)}", one.mark, y, x, x, x)
    title = f"{label}: {percent(line.value)}, {percent(line.low)} to {percent(line.high)}"
    return Dot(short, title, one.mark, y, x, x_of(line.low), x_of(line.high))
