"""Right answers against frames and against seconds, where the systems differ in them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from modules.evaluation.gaps import CEILING, FLOOR
from modules.evaluation.report.contestants import Contest, is_yardstick
from modules.evaluation.report.marks import Mark
from modules.evaluation.report.numbers import Standing
from modules.evaluation.report.scatter_chart import Chart, Point, chart
from modules.evaluation.report.wording import number

_COSTS = (
    ("frames_shown", "Right answers against frames shown", "frames shown to the model, a question"),
    ("frames_scored", "Right answers against frames scored", "frames scored to choose among them, a question"),
    ("seconds", "Right answers against seconds", "time a question takes, choosing and answering"),
)


def cost_charts(contest: Contest, found: Sequence[Standing], marks: Sequence[Mark]) -> tuple[list[Chart], list[str]]:
    """The charts; and of each cost that gives none, why, in a sentence."""
    levels = [
        (title, standing.right.value)
        for name, title in ((FLOOR, "uniform"), (CEILING, "oracle"))
        if (one := contest.named(name)) is not None
        for standing in found
        if standing.contestant is one
    ]
    charts, remarks = [], []
    for cost, title, x_title in _COSTS:
        points = [_point(standing, mark, cost) for standing, mark in zip(found, marks, strict=True)]
        drawn = chart(title, x_title, points, levels, seconds=cost == "seconds")
        if drawn is not None:
            charts.append(drawn)
            continue
        values = {p.cost for p in points if math.isfinite(p.cost)}
        if cost == "frames_shown" and values:
            shown = number(values.pop())
            remarks.append(
                f"All systems that see frames were shown {shown}: right answers against frames need runs with other "
                "numbers of frames, in one report."
            )
    return charts, remarks


def _point(standing: Standing, mark: Mark, cost: str) -> Point:
    label = standing.contestant.label
    return Point(
        label,
        mark,
        standing.cost.get(cost) or math.nan,
        standing.right.value,
        standing.right.low,
        standing.right.high,
        is_yardstick=is_yardstick(standing.contestant),
        line=standing.contestant.method,
    )
