"""Seconds add up by part, and begin anew when asked to."""

from __future__ import annotations

import pytest

from modules.systems import stopwatch
from modules.systems.stopwatch import Stopwatch


def test_times_of_a_part_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([1.0, 1.5, 2.0, 4.0, 10.0, 11.0])
    monkeypatch.setattr(stopwatch.time, "perf_counter", lambda: next(clock))
    watch = Stopwatch()
    for part in ("decode", "answer", "decode"):
        with watch.timed(part):
            pass
    assert watch.seconds == {"decode": 1.5, "answer": 2.0}
    watch.clear()
    assert watch.seconds == {}
