"""The share of the way from floor to ceiling that a system comes: (system - floor) / (ceiling - floor), of means."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from modules.evaluation.aggregate import Graded, Line, group_members
from modules.evaluation.statistics import cluster_bootstrap, gap_closed

FLOOR, CEILING = "uniform", "oracle"
"""Systems of these names are the floor and the ceiling, where an evaluation has both."""


def gap_lines(graded: Mapping[str, Graded], system: str) -> list[Line]:
    """Share of the gap that a system closes, over all questions and for each label of each group.

    Args:
        graded: every system's answers to the same questions, by name.
        system: which.

    Returns:
        Lines with 95 % intervals, videos drawn with replacement; none where floor or ceiling is missing, or where they
        do not answer the same questions.
    """
    if FLOOR not in graded or CEILING not in graded or not graded[system].answers:
        return []
    keys = [[(a.dataset, a.split, a.sample_id) for a in graded[name].answers] for name in (system, FLOOR, CEILING)]
    if keys[0] != keys[1] or keys[0] != keys[2]:
        return []
    answers, videos = graded[system].answers, graded[system].videos

    def share(rows: np.ndarray) -> float:
        return gap_closed(*(np.array(graded[name].value(rows)) for name in (system, FLOOR, CEILING)))

    def line(name: str, rows: np.ndarray) -> Line:
        low, high = cluster_bootstrap(lambda i: share(rows[i]), videos[rows])
        return Line(f"gap closed{name}", len(rows), share(rows), low, high)

    lines = [line("", np.arange(len(answers)))]
    for group in sorted({g for a in answers for g in a.groups}):
        lines += [line(f", {group}={label}", rows) for label, rows in group_members(answers, group).items()]
    return lines
