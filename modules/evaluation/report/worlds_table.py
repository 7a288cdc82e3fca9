"""The table of several worlds: each system's number in each of them, and their mean."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from modules.evaluation.aggregate import Line
from modules.evaluation.report.contest_part import ContestPart
from modules.evaluation.report.contestants import YARDSTICKS
from modules.evaluation.report.marks import Mark
from modules.evaluation.report.numbers import Standing, right_draws
from modules.evaluation.report.world_rows import WorldRow
from modules.evaluation.statistics import middle_95


@dataclass(frozen=True)
class WorldStandings:
    """One row."""

    row: WorldRow
    mark: Mark
    cells: list[Standing | None]
    """Of each world; None where it is missing."""
    mean: Line | None
    """Over worlds, each counting alike; None where one is missing, as a mean over other worlds is another thing."""

    @property
    def mean_gap_closed(self) -> float | None:
        """Over worlds, each counting alike; None where a world is missing or has no gap."""
        gaps = [None if cell is None else cell.gap_closed for cell in self.cells]
        known = [gap for gap in gaps if gap is not None]
        return float(np.mean(known)) if known and len(known) == len(gaps) else None

    @property
    def is_yardstick(self) -> bool:
        return self.row.system in YARDSTICKS


def worlds_table(rows: Sequence[WorldRow], parts: Sequence[ContestPart]) -> list[WorldStandings]:
    """The rows: those in all worlds by their means, the best first, then the others by what they have."""
    standings = [{id(standing.contestant): standing for standing in part.standings} for part in parts]
    marks = {one.method: mark for part in parts for one, mark in zip(part.ordered, part.marks, strict=True)}
    found = []
    for row in rows:
        cells = [None if one is None else own[id(one)] for one, own in zip(row.contestants, standings, strict=True)]
        known = [cell for cell in cells if cell is not None]
        mean = _mean(parts, known) if len(known) == len(parts) else None
        found.append(WorldStandings(row, marks[row.method], cells, mean))
    return sorted(found, key=lambda one: (one.mean is None, -_mean_of_cells(one)))


def _mean(parts: Sequence[ContestPart], cells: Sequence[Standing]) -> Line:
    """Mean over worlds W of a number a_w, (1/W) sum_w a_w; its interval draws the videos of each world on their own.

    In a world of a single video nothing can be drawn, and the mean has no interval.
    """
    draws = [right_draws(part.contest, cell.contestant, part.place) for part, cell in zip(parts, cells, strict=True)]
    low, high = middle_95(np.mean(draws, axis=0))
    mean = float(np.mean([cell.right.value for cell in cells]))
    return Line("mean over worlds", sum(cell.right.num_questions for cell in cells), mean, low, high)


def _mean_of_cells(one: WorldStandings) -> float:
    values = [cell.right.value for cell in one.cells if cell is not None and not math.isnan(cell.right.value)]
    return float(np.mean(values)) if values else 0.0
