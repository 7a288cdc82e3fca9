"""Intervals that respect clusters, and the share of a gap."""

from __future__ import annotations

import math

import numpy as np
import pytest

from modules.evaluation.statistics import cluster_bootstrap, gap_closed, mean_intervals


def test_gap() -> None:
    floor, ceiling = np.array([0.0, 0.0, 1.0, 0.0]), np.ones(4)
    assert gap_closed(np.array([1.0, 1.0, 0.0, 0.0]), floor, ceiling) == pytest.approx((0.5 - 0.25) / 0.75)
    assert gap_closed(floor, floor, ceiling) == 0
    assert gap_closed(ceiling, floor, ceiling) == 1
    assert math.isnan(gap_closed(floor, floor, floor))


def test_questions_of_one_video_count_as_one_draw() -> None:
    # every video is all right or all wrong: ten questions a video tell no more than one
    right = np.repeat(np.arange(40) % 2, 10).astype(float)
    clustered = cluster_bootstrap(lambda i: right[i].mean(), np.repeat(np.arange(40), 10))
    independent = cluster_bootstrap(lambda i: right[i].mean(), np.arange(400))
    assert clustered[1] - clustered[0] > 2.5 * (independent[1] - independent[0])
    assert clustered[0] < 0.5 < clustered[1]


def test_nothing_to_resample() -> None:
    low, high = cluster_bootstrap(lambda i: float("nan"), np.arange(3))
    assert math.isnan(low)
    assert math.isnan(high)


def test_intervals_of_many_means_are_those_of_each() -> None:
    rng = np.random.default_rng(1)
    values, clusters = rng.random((3, 50)), rng.integers(0, 7, 50)
    low, high = mean_intervals(values, clusters)
    for m, row in enumerate(values):
        assert (low[m], high[m]) == pytest.approx(cluster_bootstrap(lambda i, row=row: row[i].mean(), clusters))
    alone = mean_intervals(values, np.zeros(50))
    assert np.isnan(alone).all()
