"""Accuracies with intervals that respect that questions on one video are not independent."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

NUM_RESAMPLES = 2000


def cluster_bootstrap(
    statistic: Callable[[np.ndarray], float], clusters: np.ndarray, seed: int = 0, num_resamples: int = NUM_RESAMPLES
) -> tuple[float, float]:
    """95 % percentile interval of a statistic, whole clusters (videos) resampled with replacement.

    Args:
        statistic: function of row indices (with repeats), e.g. ``lambda i: correct[i].mean()``.
        clusters: (N,) cluster of each row.
        seed: of the resampling.
        num_resamples: how many.

    Returns:
        (low, high); NaN resamples are left out; (NaN, NaN) for a single cluster.
    """
    names = np.unique(clusters)
    if len(names) < 2:
        return float("nan"), float("nan")
    rows_of = [np.flatnonzero(clusters == name) for name in names]
    rng = np.random.default_rng(seed)
    values = []
    for _ in range(num_resamples):
        drawn = rng.integers(0, len(names), len(names))
        values.append(statistic(np.concatenate([rows_of[d] for d in drawn])))
    real = np.array(values)[~np.isnan(values)]
    if not len(real):
        return float("nan"), float("nan")
    low, high = np.percentile(real, [2.5, 97.5])
    return float(low), float(high)


def gap_closed(arm: np.ndarray, floor: np.ndarray, ceiling: np.ndarray) -> float:
    """Share of the way from floor to ceiling: (arm - floor) / (ceiling - floor), of means; NaN without a gap."""
    gap = ceiling.mean() - floor.mean()
    return float((arm.mean() - floor.mean()) / gap) if gap > 0 else float("nan")
