"""From right and wrong to a benchmark's numbers, with intervals that respect the videos.

- micro: mean over questions. LongVideoBench, Video-MME, LVBench, NExT-GQA Acc@QA; and TSPO's "M-Avg" on MLVU, against
  its name, as VLMEvalKit's.
- macro: mean over groups of their means. MLVU's own M-Avg, over its tasks (lmms-eval too).

Of a scorer of corpora, such as BLEU, "mean" is to be read as its number for those questions together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from modules.evaluation.scorer_base import CorpusScorer, Scorer
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
    """float (N,), 1 right, 0 wrong; between them where a scorer grades texts, and up to 10 by CIDEr-D."""
    num_unread: int
    """Answers in which the scorer found nothing that it can grade."""
    counts: np.ndarray | None = None
    """float (N, S), what a scorer of corpora counts in each answer."""
    corpus: CorpusScorer | None = None
    """Who makes a number of their sum; None where it is the mean of the grades."""

    @property
    def videos(self) -> np.ndarray:
        return np.array([a.video for a in self.answers])

    def value(self, rows: np.ndarray) -> float:
        """The number of some of them, by position, with repeats: the mean of their grades, or that of the corpus."""
        if self.corpus is None or self.counts is None:
            return float(self.correct[rows].mean())
        return self.corpus.value(self.counts[rows].sum(0))


def grade(answers: Sequence[Answer], scorer: Scorer) -> Graded:
    """Grades answers; those of which the scorer can say nothing are left out."""
    known = [answer for answer in answers if scorer.judges(answer)]
    grades = scorer.grade_all(known)
    correct = np.array([0.0 if value is None else value for value in grades], float)
    num_unread = sum(value is None for value in grades)
    if not isinstance(scorer, CorpusScorer) or not known:
        return Graded(known, correct, num_unread)
    return Graded(known, correct, num_unread, np.stack([scorer.counts(answer) for answer in known]), scorer)


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
    lines = [_line(graded, "micro", np.arange(len(graded.answers)))]
    if macro_over is not None:
        lines.append(_macro(graded, macro_over))
    for group in sorted({g for a in graded.answers for g in a.groups}):
        members = group_members(graded.answers, group)
        lines += [_line(graded, f"{group}={label}", rows) for label, rows in members.items()]
    return lines


def total(graded: Graded, name: str) -> list[Line]:
    """The number of all of them alone, under a name; none where there is no answer."""
    return [_line(graded, name, np.arange(len(graded.answers)))] if graded.answers else []


def _line(graded: Graded, name: str, rows: np.ndarray) -> Line:
    low, high = cluster_bootstrap(lambda i: graded.value(rows[i]), graded.videos[rows])
    return Line(name, len(rows), graded.value(rows), low, high)


def _macro(graded: Graded, group: str) -> Line:
    members = group_members(graded.answers, group)
    belongs = np.zeros((len(members), len(graded.answers)), bool)
    for g, rows in enumerate(members.values()):
        belongs[g, rows] = True

    def mean_of_means(i: np.ndarray) -> float:
        parts = [i[own[i]] for own in belongs]
        values = [graded.value(part) for part in parts if len(part)]
        return float(np.mean(values)) if values else float("nan")

    everything = np.arange(len(graded.correct))
    low, high = cluster_bootstrap(mean_of_means, graded.videos)
    return Line(f"macro over {group}", len(everything), mean_of_means(everything), low, high)
