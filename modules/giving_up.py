"""Giving up on a question that nobody waits for any more: whoever asked has gone, or the time for it is over.

What decodes, describes and reasons runs deep below whoever knows that. So the thread that asks says once, for
everything it does inside a context, how to find out. The places that wait for decoders look there now and then, and end
the decoding processes; an agent looks before each of its steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

LOOK_S = 0.1
"""Between two looks at whether somebody still waits."""
T = TypeVar("T")
_NOBODY_WAITS: ContextVar[Callable[[], bool] | None] = ContextVar("nobody_waits", default=None)


class GivenUpError(RuntimeError):
    """Nobody waits for what was being done."""


@contextmanager
def given_up_when(nobody_waits: Callable[[], bool]) -> Iterator[None]:
    """Inside, and in this thread, work that is worth leaving ends with `GivenUpError` once nobody waits."""
    token = _NOBODY_WAITS.set(nobody_waits)
    try:
        yield
    finally:
        _NOBODY_WAITS.reset(token)


def may_be_given_up() -> bool:
    """Whether it is worth looking now and then."""
    return _NOBODY_WAITS.get() is not None


def look() -> None:
    """Raises:
    GivenUpError: nobody waits for what this thread does.
    """
    nobody_waits = _NOBODY_WAITS.get()
    if nobody_waits is not None and nobody_waits():
        raise GivenUpError("nobody waits for this any more")


def result_of(future: Future[T]) -> T:
    """As ``future.result()``, looking now and then.

    Raises:
        GivenUpError: nobody waits for it; the future goes on.
    """
    while may_be_given_up():
        look()
        try:
            return future.result(LOOK_S)
        except NotYet:
            if future.done():
                raise
    return future.result()
