"""When a call is made again, and after how long.

A call that fails on its own account (500, broken JSON, no answer in time) has so many retries of its own. A server that
is away or overloaded is everybody's affair: all calls wait together (`modules.mllms.served.pace`), and after so many
rounds without one answer it is given up. Over all, calls are repeated only as often as a budget allows, so that a
server that half works is not asked twice as much as one that does.
"""

from __future__ import annotations

import email.utils
import math
import random
from collections.abc import Mapping

LONGEST_WAIT_S = 120.0
"""A server that asks to come back later than this is not waited for."""
_FIRST_S, _LONGEST_BACKOFF_S = 0.5, 8.0
_OVERLOADED = (429, 503)
_AGAIN = (408, 409)
_NOT_IMPLEMENTED = 501


def is_overload(status: int) -> bool:
    """Whether a status is about the server's load, and not about the call."""
    return status in _OVERLOADED


def may_pass(status: int) -> bool:
    """Whether the same call may be answered if it is made again."""
    return status in _AGAIN or (status >= 500 and status != _NOT_IMPLEMENTED)


def backoff_s(failures: int, draw: random.Random) -> float:
    """Half of 0.5 s x 2^(failures - 1), at most 8 s, and a random share of the other half.

    Args:
        failures: so far, at least 1.
        draw: of the share, so that calls that failed together do not come back together.
    """
    whole = min(_LONGEST_BACKOFF_S, _FIRST_S * 2 ** min(failures - 1, 10))
    return whole * (0.5 + 0.5 * draw.random())


def retry_after_s(headers: Mapping[str, str], now_s: float) -> float | None:
    """Seconds that a server asks to wait: ``retry-after-ms``, or ``Retry-After`` in seconds or as an HTTP date.

    Args:
        headers: of its answer; names in lower case are found.
        now_s: seconds since 1970.

    Returns:
        At least 0; None where it does not say, or what it says cannot be read.
    """
    milliseconds, said = headers.get("retry-after-ms"), headers.get("retry-after")
    for value, unit_s in ((milliseconds, 1e-3), (said, 1.0)):
        try:
            seconds = float(value) * unit_s if value is not None else math.nan
        except ValueError:
            continue
        if not math.isnan(seconds):
            return max(0.0, seconds)
    try:
        date = email.utils.parsedate_to_datetime(said) if said is not None else None
        return None if date is None else max(0.0, date.timestamp() - now_s)
    except (ValueError, TypeError, OverflowError):
        return None


class RetryBudget:
    """How many calls may still be made again, over all.

    Args:
        most: at the start, and at any time: what a burst of failures may take.
        per_answer: what each answer adds.
    """

    def __init__(self, most: int, per_answer: float = 0.2) -> None:
        self.most, self.left, self.per_answer = most, float(most), per_answer

    def answered(self) -> None:
        """A call was answered."""
        self.left = min(float(self.most), self.left + self.per_answer)

    def take(self) -> bool:
        """Whether a call may be made again; if so, it is counted."""
        if self.left < 1:
            return False
        self.left -= 1
        return True
