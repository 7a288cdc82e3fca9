"""How many calls a server is asked at a time: additive increase, multiplicative decrease, as TCP does it.

Chiu and Jain, 1989: of the simple rules this one lets several clients of one server settle on equal shares. A round of
answered calls brings one call more at a time; a sign of overload (429, 503, no connection, no answer in time) halves
them, once for all the calls that were on their way when it came.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager


class Pace:
    """The turns of one server's calls. All of it runs on one event loop.

    Args:
        most: calls at a time, at most; begins with them.
        clock: seconds.
    """

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.most, self.limit, self.now = most, float(most), 0
        self.num_halved = self.rounds_failed = 0
        """``rounds_failed`` counts halvings since the last answer."""
        self._clock, self._halved_at, self._resumes_at = clock, -float("inf"), -float("inf")
        self._freed = asyncio.Condition()

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[float]:
        """A call's turn; gives the time at which it began, to be told to `answered` or `overloaded`."""
        async with self._freed:
            while self.now >= int(self.limit) or self._clock() < self._resumes_at:
                if self.now < int(self.limit):
                    self._freed.release()
                    try:
                        await asyncio.sleep(self._resumes_at - self._clock())
                    finally:
                        await self._freed.acquire()
                else:
                    await self._freed.wait()
            self.now += 1
        try:
            yield self._clock()
        finally:
            async with self._freed:
                self.now -= 1
                self._freed.notify(max(1, int(self.limit) - self.now))

    def answered(self) -> None:
        """The server answered: one call more at a time after as many answers as there are calls at a time."""
        self.limit = min(float(self.most), self.limit + 1 / self.limit)
        self.rounds_failed = 0

    def overloaded(self, began_s: float, pause_s: float = 0.0) -> None:
        """The server is overloaded or away: half as many calls, and none for a while.

        Args:
            began_s: of the call that showed it. Those that were on their way at the last halving say nothing new.
            pause_s: from now on.
        """
        if began_s >= self._halved_at:
            self.limit, self._halved_at = max(1.0, self.limit / 2), self._clock()
            self.num_halved += 1
            self.rounds_failed += 1
        self._resumes_at = max(self._resumes_at, self._clock() + pause_s)
