"""Orders and fillings that rules share: the best so many, what is missing, and scores between 0 and 1.

Numpy, because its maximum is the earliest one and its stable sorts keep the order of time; torch promises neither.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from modules.selection.even_spacing import evenly_spaced

Frames = NDArray[np.int64]
"""Candidate indices."""
Scores = NDArray[np.float64]


def best(scores: Scores, count: int) -> Frames:
    """The ``count`` greatest of (T,), best first; of equal ones the earlier."""
    return np.argsort(-scores, kind="stable")[:count]


def filled(taken: Frames, scores: Scores, count: int) -> Frames:
    """``taken``, each once and at most ``count`` of them, and then the best of the rest up to ``count``."""
    taken = distinct(taken)[:count]
    rest = scores.copy()
    rest[taken] = -np.inf
    return np.concatenate([taken, best(rest, count - len(taken))])


def spread(taken: Frames, total: int, count: int) -> Frames:
    """``taken``, each once and at most ``count`` of them, and then evenly spaced ones of the rest of ``total``."""
    taken = distinct(taken)[:count]
    rest = np.setdiff1d(np.arange(total), taken, assume_unique=True)
    return np.concatenate([taken, rest[evenly_spaced(len(rest), count - len(taken)).numpy()]])


def distinct(taken: Frames) -> Frames:
    """Each once, in the order of the first time."""
    _, first = np.unique(taken, return_index=True)
    return np.asarray(taken, dtype=np.int64)[np.sort(first)]


def unit_range(scores: Scores, constant: float = 1.0) -> Scores:
    """``(s - min) / (max - min)``; ``constant`` throughout where all are equal."""
    span = scores.max() - scores.min()
    return (scores - scores.min()) / span if span > 0 else np.full_like(scores, constant)
