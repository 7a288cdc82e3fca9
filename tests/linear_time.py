"""Whether something takes linear time, by doubling what it is given."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable

_SMALLEST, _LARGEST, _ENOUGH_S = 500, 16_000, 0.02


def assert_linear(run: Callable[[int], object]) -> None:
    """Doubles n until it is large or takes measurable time; eight times as much may then take at most 24 times as long.

    Quadratic time would take 64 times as long, cubic 512 times. What is done in a moment at the largest n is linear
    enough: 16 000 steps squared take seconds.
    """
    n = _SMALLEST
    while (once := _seconds(run, n)) < _ENOUGH_S / 8 and n < _LARGEST:
        n *= 2
    if n >= _LARGEST:
        assert once < 1.0, f"n={n} takes {once:.2f} s"
        return
    eightfold = min(_seconds(run, 8 * n) for _ in range(2))
    assert eightfold < 24 * min(once, *(_seconds(run, n) for _ in range(3))), (
        f"n={n}: {once:.4f} s, 8 n: {eightfold:.4f} s"
    )


def _seconds(run: Callable[[int], object], n: int) -> float:
    """Of this process, so that a busy machine does not matter; without pauses to collect garbage."""
    gc.collect(0)
    gc.disable()
    try:
        started = time.process_time()
        run(n)
        return time.process_time() - started
    finally:
        gc.enable()
