"""Accuracies with intervals that respect that questions on one video are not independent."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

NUM_RESAMPLES = 2000


def cluster_draws(
    statistic: Callable[[np.ndarray], float], clusters: np.ndarray, seed: int = 0, num_resamples: int = NUM_RESAMPLES
) -> np.ndarray:
    """A statistic of whole clusters (videos) resampled with replacement, draw by draw.

    Args:
        statistic: function of row indices (with repeats), e.g. ``lambda i: correct[i].mean()``.
        clusters: (N,) cluster of each row.
        seed: of the resampling.
        num_resamples: how many.

    Returns:
        float (num_resamples,); NaN for a single cluster.
    """
    names = np.unique(clusters)
    if len(names) < 2:
        return np.full(num_resamples, np.nan)
    rows_of = [np.flatnonzero(clusters == name) for name in names]
    rng = np.random.default_rng(seed)
    values = []
    for _ in range(num_resamples):
        drawn = rng.integers(0, len(names), len(names))
        values.append(statistic(np.concatenate([rows_of[d] for d in drawn])))
    return np.array(values)


def cluster_bootstrap(
    statistic: Callable[[np.ndarray], float], clusters: np.ndarray, seed: int = 0, num_resamples: int = NUM_RESAMPLES
) -> tuple[float, float]:
    """95 % percentile interval of a statistic over `cluster_draws`, which has the arguments.

    Returns:
        (low, high); NaN resamples are left out; (NaN, NaN) for a single cluster.
    """
    return middle_95(cluster_draws(statistic, clusters, seed, num_resamples))


def middle_95(draws: np.ndarray) -> tuple[float, float]:
    """The 2.5 % and 97.5 % percentiles of some draws (D,), those that are NaN left out; NaN where none is left."""
    real = draws[~np.isnan(draws)]
    if not len(real):
        return float("nan"), float("nan")
    low, high = np.percentile(real, [2.5, 97.5])
    return float(low), float(high)


def mean_draws(values: np.ndarray, clusters: np.ndarray, seed: int = 0) -> np.ndarray:
    """`cluster_draws` of the mean of each row, all rows on the same draws, in one product of matrices.

    A draw counts each cluster c_v times, and its mean is sum_v c_v s_v / sum_v c_v n_v with the sums s_v and sizes n_v
    of the clusters; so 200 pairs of systems take no longer than one.

    Args:
        values: float (M, N).
        clusters: (N,) cluster of each column.
        seed: of the resampling; the draws are those of `cluster_draws`.

    Returns:
        float (M, NUM_RESAMPLES); NaN for a single cluster.
    """
    names, place = np.unique(clusters, return_inverse=True)
    if len(names) < 2:
        return np.full((len(values), NUM_RESAMPLES), np.nan)
    member = np.eye(len(names))[place]
    rng = np.random.default_rng(seed)
    draws = [rng.integers(0, len(names), len(names)) for _ in range(NUM_RESAMPLES)]
    times = np.stack([np.bincount(drawn, minlength=len(names)) for drawn in draws])
    means: np.ndarray = (values @ member) @ times.T / (times @ member.sum(0))
    return means


def mean_intervals(values: np.ndarray, clusters: np.ndarray, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Ends (M,) and (M,) of 95 % percentile intervals over `mean_draws`, which has the arguments."""
    low, high = np.percentile(mean_draws(values, clusters, seed), [2.5, 97.5], axis=1)
    return low, high


def gap_closed(arm: np.ndarray, floor: np.ndarray, ceiling: np.ndarray) -> float:
    """Share of the way from floor to ceiling: (arm - floor) / (ceiling - floor), of means; NaN without a gap."""
    gap = ceiling.mean() - floor.mean()
    return float((arm.mean() - floor.mean()) / gap) if gap > 0 else float("nan")
