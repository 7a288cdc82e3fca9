"""Two runs on the same questions: is one better, or are they two draws of the same luck?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from modules.evaluation.aggregate import grade
from modules.evaluation.scorers import Scorer
from modules.evaluation.statistics import cluster_bootstrap
from modules.records import Answer


@dataclass(frozen=True)
class Comparison:
    """B against A on the questions that both answered."""

    num_questions: int
    num_only_one: int
    """Questions that only one of the two answered; left out."""
    accuracy_a: float
    accuracy_b: float
    difference: float
    low: float
    high: float
    """95 % interval of the difference, clustered by video."""
    only_a_right: int
    """Questions on which A is better, where texts are graded."""
    only_b_right: int
    p_value: float
    """Exact two-sided McNemar test; treats questions on one video as independent, which the interval does not."""


def mcnemar(only_a: int, only_b: int) -> float:
    """Exact two-sided p: of n = only_a + only_b disagreements, as few on one side as here; 1 without disagreement."""
    n, k = only_a + only_b, min(only_a, only_b)
    if n == 0:
        return 1.0
    return min(1.0, 2 * sum(math.comb(n, i) for i in range(k + 1)) / 2**n)


def compare(a: Sequence[Answer], b: Sequence[Answer], scorer: Scorer) -> Comparison:
    """Pairs answers by (dataset, split, sample_id).

    Raises:
        ValueError: they share no question, or a run has a question twice (choose a system).
    """
    keyed = []
    for name, answers in (("the first", a), ("the second", b)):
        known = [answer for answer in answers if scorer.judges(answer)]
        by_key = {(x.dataset, x.split, x.sample_id): x for x in known}
        if len(by_key) < len(known):
            raise ValueError(f"{name} run answers a question more than once; choose one system")
        keyed.append(by_key)
    shared = sorted(keyed[0].keys() & keyed[1].keys())
    if not shared:
        raise ValueError("the two runs have no question in common")
    left, right = (grade([by_key[key] for key in shared], scorer) for by_key in keyed)
    difference, every = right.correct - left.correct, np.arange(len(shared))
    low, high = cluster_bootstrap(lambda i: right.value(i) - left.value(i), left.videos)
    only_a, only_b = int((difference < 0).sum()), int((difference > 0).sum())
    return Comparison(
        len(shared),
        len(keyed[0].keys() ^ keyed[1].keys()),
        left.value(every),
        right.value(every),
        right.value(every) - left.value(every),
        low,
        high,
        only_a,
        only_b,
        mcnemar(only_a, only_b),
    )
