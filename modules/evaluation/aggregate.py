"""From right and wrong to a benchmark's numbers, with intervals that respect the videos.

- micro: mean over questions. LongVideoBench, Video-MME, LVBench, NExT-GQA Acc@QA; and TSPO's "M-Avg" on MLVU, against
  its name, as VLMEvalKit's.
- macro: mean over groups of their means. MLVU's own M-Avg, over its tasks (lmms-eval too).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from modules.evaluation.scorers import Scorer
from modules.evaluation.statistics import cluster_bootstrap
from modules.records import Answer


@dataclass(frozen=True)
class Line:
    """One number of a report."""

    name: str
    num_questions: int
    value: float
    low: float
    """With `high`, the 95 % interval; NaN where there is none to be had."""
    high: float


@dataclass(frozen=True)
class Graded:
    """Answers of one system under one scorer."""

    answers: Sequence[Answer]
    correct: np.ndarray
    """float (N,), 1 right, 0 wrong; between them where a scorer grades texts."""
    num_unread: int
    """Answers in which the scorer found nothing that it can grade."""

    @property
    def videos(self) -> np.ndarray:
        return np.array([a.video for a in self.answers])


def grade(answers: Sequence[Answer], scorer: Scorer) -> Graded:
    """Grades answers; those of which the scorer can say nothing are left out."""
    known = [answer for answer in answers if scorer.judges(answer)]
    grades = [scorer.grade(answer) for answer in known]
    correct = np.array([0.0 if value is None else value for value in grades], float)
    return Graded(known, correct, sum(value is None for value in grades))


def group_members(answers: Sequence[Answer], group: str) -> dict[str, np.ndarray]:
    """Row indices of each label of a group; a question of several labels counts in each."""
    members: dict[str, list[int]] = {}
    for i, answer in enumerate(answers):
        labels = answer.groups.get(group, ())
        for label in (labels,) if isinstance(labels, str) else labels:
            members.setdefault(label, []).append(i)
    return {label: np.array(rows) for label, rows in sorted(members.items())}


def report(graded: Graded, macro_over: str | None = None) -> list[Line]:
    """micro, macro where asked for, and the accuracy of every label of every group.

    Args:
        graded: answers of one system.
        macro_over: group whose labels count alike, e.g. ``task``.
    """
    if not graded.answers:
        return []
    correct, videos = graded.correct, graded.videos

    def line(name: str, rows: np.ndarray) -> Line:
        low, high = cluster_bootstrap(lambda i: float(correct[rows][i].mean()), videos[rows])
        return Line(name, len(rows), float(correct[rows].mean()), low, high)

    lines = [line("micro", np.arange(len(correct)))]
    if macro_over is not None:
        lines.append(_macro(graded, macro_over))
    for group in sorted({g for a in graded.answers for g in a.groups}):
        lines += [line(f"{group}={label}", rows) for label, rows in group_members(graded.answers, group).items()]
    return lines


def _macro(graded: Graded, group: str) -> Line:
    members = group_members(graded.answers, group)
    belongs = np.zeros((len(members), len(graded.correct)))
    for g, rows in enumerate(members.values()):
        belongs[g, rows] = 1

    def mean_of_means(i: np.ndarray) -> float:
        counts = belongs[:, i].sum(1)
        means = (belongs[:, i] * graded.correct[i]).sum(1)[counts > 0] / counts[counts > 0]
        return float(means.mean()) if len(means) else float("nan")

    everything = np.arange(len(graded.correct))
    low, high = cluster_bootstrap(mean_of_means, graded.videos)
    return Line(f"macro over {group}", len(everything), mean_of_means(everything), low, high)
