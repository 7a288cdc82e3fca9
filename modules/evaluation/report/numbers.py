"""The numbers of a report: right answers with intervals, by kind, cost, and every pair of systems."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from modules.evaluation.aggregate import Line, group_members
from modules.evaluation.costs_table import cost_lines
from modules.evaluation.gaps import CEILING, FLOOR
from modules.evaluation.report.contestants import Contest, Contestant
from modules.evaluation.statistics import cluster_bootstrap, cluster_draws, gap_closed, mean_draws, mean_intervals
from modules.selection.evidence import coverage


@dataclass(frozen=True)
class Standing:
    """One contestant in the leaderboard."""

    contestant: Contestant
    right: Line
    by_group: dict[str, Line]
    """Of each label of each group, e.g. ``kind=needle``."""
    gap_closed: float | None
    """Share of the way from uniform to oracle; None where one is missing or there is no gap."""
    spread: tuple[float, float] | None
    """The worst and the best of its seeds, where there are several."""
    evidence_found: float | None
    """Share of the places with evidence that a chosen frame lies in."""
    cost: dict[str, float | None]
    """Means a question (`modules.evaluation.costs_table`); empty where the run did not measure it."""


@dataclass(frozen=True)
class Pair:
    """One contestant against another on the same questions."""

    difference: float
    low: float
    high: float
    """With `low`, the 95 % interval: whole videos drawn again, both systems on the same draws."""

    @property
    def verdict(self) -> str:
        """``better`` or ``worse`` where the interval says so, else ``open``."""
        if self.low > 0:
            return "better"
        return "worse" if self.high < 0 else "open"


def standings(contest: Contest) -> list[Standing]:
    """Every contestant, the best first."""
    labels = _groups(contest)
    every = np.arange(len(contest.questions))
    rows = {"micro": every, **labels}
    lines = {name: _lines(contest, contest.contestants, name, part) for name, part in rows.items()}
    found = []
    for n, one in enumerate(contest.contestants):
        values = [float(grades.mean()) for grades in one.grades]
        found.append(
            Standing(
                contestant=one,
                right=lines["micro"][n],
                by_group={name: lines[name][n] for name in labels},
                gap_closed=_gap_closed(contest, one),
                spread=(min(values), max(values)) if len(values) > 1 and one.graded.corpus is None else None,
                evidence_found=_evidence_found(one),
                cost=_cost(one),
            )
        )
    return sorted(found, key=lambda standing: -standing.right.value)


def pairs(contest: Contest, ordered: Sequence[Contestant]) -> list[list[Pair | None]]:
    """Row minus column of every two contestants, for texts and options alike; None on the diagonal."""
    size, every = len(ordered), np.arange(len(contest.questions))
    table: list[list[Pair | None]] = [[None] * size for _ in range(size)]
    places = [(a, b) for a in range(size) for b in range(size) if a < b]
    if not places:
        return table
    if any(one.graded.corpus is not None for one in ordered):
        ends = [_interval_between(ordered[a], ordered[b], contest.videos) for a, b in places]
        low, high = (np.array([end[side] for end in ends]) for side in (0, 1))
    else:
        differences = np.array([ordered[a].mean_grades - ordered[b].mean_grades for a, b in places])
        low, high = mean_intervals(differences, contest.videos)
    for n, (a, b) in enumerate(places):
        difference = ordered[a].value(every) - ordered[b].value(every)
        table[a][b] = Pair(difference, float(low[n]), float(high[n]))
        table[b][a] = Pair(-difference, -float(high[n]), -float(low[n]))
    return table


def right_draws(contest: Contest, one: Contestant, seed: int) -> np.ndarray:
    """Float (NUM_RESAMPLES,): a contestant's number over all questions, whole videos drawn again."""
    if one.graded.corpus is not None:
        return cluster_draws(one.value, contest.videos, seed)
    return mean_draws(one.mean_grades[None], contest.videos, seed)[0]


def _interval(one: Contestant, rows: np.ndarray, videos: np.ndarray) -> tuple[float, float]:
    """Of a number that is no mean, such as BLEU."""
    return cluster_bootstrap(lambda i: one.value(rows[i]), videos)


def _interval_between(one: Contestant, other: Contestant, videos: np.ndarray) -> tuple[float, float]:
    """The same of a difference, both on one draw."""
    return cluster_bootstrap(lambda i: one.value(i) - other.value(i), videos)


def _groups(contest: Contest) -> dict[str, np.ndarray]:
    """Positions of the questions of each label of each group; those that hold them all are left out."""
    names = sorted({group for answer in contest.questions for group in answer.groups})
    found = {
        f"{group}={label}": rows for group in names for label, rows in group_members(contest.questions, group).items()
    }
    return {name: rows for name, rows in found.items() if len(rows) < len(contest.questions)}


def _lines(contest: Contest, contestants: Sequence[Contestant], name: str, rows: np.ndarray) -> list[Line]:
    """The number of some questions of each contestant, with its interval."""
    videos = contest.videos[rows]
    if any(one.graded.corpus is not None for one in contestants):
        ends = [_interval(one, rows, videos) for one in contestants]
        low, high = (np.array([end[side] for end in ends]) for side in (0, 1))
    else:
        low, high = mean_intervals(np.array([one.mean_grades[rows] for one in contestants]), videos)
    return [Line(name, len(rows), one.value(rows), float(low[n]), float(high[n])) for n, one in enumerate(contestants)]


def yardstick(contest: Contest, system: str, like: Contestant) -> Contestant | None:
    """The floor or ceiling that belongs to a contestant: the one of as many frames, or the only one."""
    found = [one for one in contest.contestants if one.system == system]
    return next((one for one in found if one.num_frames == like.num_frames), found[0] if len(found) == 1 else None)


def _gap_closed(contest: Contest, one: Contestant) -> float | None:
    floor, ceiling = (yardstick(contest, system, one) for system in (FLOOR, CEILING))
    if floor is None or ceiling is None:
        return None
    every = np.arange(len(contest.questions))
    share = gap_closed(*(np.array(c.value(every)) for c in (one, floor, ceiling)))
    return None if math.isnan(share) else share


def _evidence_found(one: Contestant) -> float | None:
    found = [
        coverage(a.answer.evidence_s, a.answer.timestamps_s)[0]
        for replicate in one.replicates
        for a in replicate.answered
        if a.answer.evidence_s and a.answer.timestamps_s
    ]
    return float(np.mean(found)) if found else None


def _cost(one: Contestant) -> dict[str, float | None]:
    lines = cost_lines([a for replicate in one.replicates for a in replicate.answered])
    return lines.get(one.system, {})
