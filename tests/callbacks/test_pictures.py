"""Pictures are drawn whatever names there are in them."""

from __future__ import annotations

from pathlib import Path

import pytest

from callbacks.learning_curve import LearningCurve


@pytest.mark.parametrize("kind", ["$\\frac$", "costs $5", "_", "[/x]", "\u4e2d"])
def test_curves_of_kinds_with_odd_names(kind: str, tmp_path: Path) -> None:
    curve = LearningCurve(run_dir=str(tmp_path))
    curve.points = [(1, "reward/total", 0.5), (1, f"val/accuracy_{kind}", 0.5), (2, f"val/accuracy_{kind}", 0.6)]
    curve.draw()
    assert curve.png.stat().st_size > 1000
