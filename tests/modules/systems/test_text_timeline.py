"""A timeline in letters: bars of the greatest score in each column, and marks where somebody looked."""

from __future__ import annotations

import numpy as np

from modules.systems.text_timeline import text_timeline


def test_by_hand() -> None:
    times = np.arange(16.0)
    scores = np.array([0.0, 1, 0, 0, 8, 0, 0, 0, 4, 0, 0, 0, 0, 0, 2, 0])
    bars, marks, seconds = text_timeline(times, scores, (0.0, 4.0, 15.0), width=8)
    assert bars == "▂▁█▁▅▁▁▃"
    assert marks == "▲ ▲    ▲"
    assert seconds == "0 s 15 s"


def test_without_scores_and_with_few_candidates() -> None:
    assert text_timeline(np.array([0.0, 10.0]), None, (10.0,), width=10) == ("─" * 10, " " * 9 + "▲", "0 s   10 s")
    bars, marks, _ = text_timeline(np.array([0.0, 10.0]), np.array([1.0, 1.0]), (), width=10)
    assert bars == "▁        ▁"  # nobody scored what lies between
    assert not marks.strip()
    assert text_timeline(np.array([3.0]), np.array([1.0]), (3.0,), width=8)[1] == "▲       "
