"""Pictures are drawn whatever names there are in them."""

from __future__ import annotations

from pathlib import Path

import pytest

from callbacks.learning_curve import LearningCurve
from callbacks.timeline import pictured_rollout


@pytest.mark.parametrize("kind", ["$\\frac$", "costs $5", "_", "[/x]", "\u4e2d"])
def test_curves_of_kinds_with_odd_names(kind: str, tmp_path: Path) -> None:
    curve = LearningCurve(run_dir=str(tmp_path))
    curve.points = [(1, "reward/total", 0.5), (1, f"val/accuracy_{kind}", 0.5), (2, f"val/accuracy_{kind}", 0.6)]
    curve.draw()
    assert curve.png.stat().st_size > 1000


@pytest.mark.parametrize(
    ("queries", "number"),
    [([["star"], ["ring"]], 0), ([[], ["ring"], ["star"]], 1), ([[], []], 0)],
)
def test_a_timeline_is_of_the_first_rollout_that_wrote_queries(queries: list[list[str]], number: int) -> None:
    assert pictured_rollout(queries) == number
