"""Seconds of the parts of a step or of an answer, added up by name."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager


class Stopwatch:
    """Adds up what each part takes."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        """By part, since the last `clear`."""

    @contextmanager
    def timed(self, part: str) -> Iterator[None]:
        """Adds the time that is spent inside to that of a part."""
        started = time.perf_counter()
        yield
        self.seconds[part] += time.perf_counter() - started

    def clear(self) -> None:
        """Begins anew, with no part at all."""
        self.seconds.clear()
