"""The calls of one server: each in its turn, and again where that may help.

A call ends in an answer or in an error that names server and question; it never ends in something that looks like an
answer. `UnansweredError` is about one question, any other `ConnectionError` about the server.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import httpx2
import openai

from modules.mllms.chat_answers import MalformedAnswerError
from modules.mllms.served.pace import Pace
from modules.mllms.served.retries import (
    LONGEST_WAIT_S,
    RetryBudget,
    backoff_s,
    is_overload,
    may_pass,
    retry_after_s,
)
from modules.mllms.served.unanswered import UnansweredError

T = TypeVar("T")
_EVERY_CALLS = (401, 403, 404)
"""Statuses that every other call would get as well."""


class Calls:
    """Makes calls of one server, on one event loop.

    Args:
        server: its name in errors.
        secret: the key, which a server may send back and no error shows.
        concurrency: calls at a time, at most.
        max_retries: of a call that fails on its own account; and rounds in which no call reached the server.
    """

    def __init__(self, server: str, secret: str, concurrency: int, max_retries: int) -> None:
        self.server, self.secret, self.max_retries = server, secret, max_retries
        self.pace, self.budget = Pace(concurrency), RetryBudget(concurrency * max_retries)
        self.num_retries = 0
        self._draw = random.Random()

    async def made(self, call: Callable[[], Awaitable[T]], about: str) -> T:
        """The answer to a call.

        Args:
            call: makes it; once per try.
            about: what it asks, for errors.

        Raises:
            UnansweredError: this one could not be answered.
            ConnectionError: none could.
        """
        own_failures = tries = 0
        while True:
            tries += 1
            async with self.pace.turn() as began_s:
                try:
                    found = await call()
                except (MalformedAnswerError, openai.OpenAIError) as caught:
                    error = caught
                else:
                    self.pace.answered()
                    self.budget.answered()
                    return found
                wait_s, shared = self._judged(error, own_failures + 1, began_s)
            own_failures += not shared
            if not self._again(error, own_failures, shared, wait_s):
                raise self._failed(error, about, tries, wait_s) from None
            self.num_retries += 1
            if not shared:
                await asyncio.sleep(wait_s)

    def _judged(self, error: Exception, failures: int, began_s: float) -> tuple[float, bool]:
        """Seconds to wait after a failure, and whether it is the server's affair, for which all calls wait."""
        own_s = 0.0 if isinstance(error, MalformedAnswerError) else backoff_s(failures, self._draw)
        if isinstance(error, openai.APIStatusError):
            asked_s = retry_after_s(error.response.headers, time.time())
            if not is_overload(error.status_code):
                return own_s if asked_s is None else asked_s + own_s * self._draw.random(), False
            wait_s = backoff_s(self.pace.rounds_failed + 1, self._draw)
            wait_s = wait_s if asked_s is None else asked_s + 0.1 * self._draw.random()
            self.pace.overloaded(began_s, min(wait_s, LONGEST_WAIT_S))
            return wait_s, True
        if isinstance(error, openai.APITimeoutError):
            self.pace.overloaded(began_s)
            return own_s, False
        if isinstance(error, openai.APIConnectionError):
            wait_s = backoff_s(self.pace.rounds_failed + 1, self._draw)
            self.pace.overloaded(began_s, wait_s)
            return wait_s, isinstance(error.__cause__, httpx2.ConnectError)
        return own_s, False

    def _again(self, error: Exception, own_failures: int, shared: bool, wait_s: float) -> bool:
        """Whether to make a failed call again."""
        if isinstance(error, openai.APIStatusError) and not shared and not may_pass(error.status_code):
            return False
        known = (MalformedAnswerError, openai.APIStatusError, openai.APIConnectionError)
        failures = self.pace.rounds_failed if shared else own_failures
        allowed = isinstance(error, known) and failures <= self.max_retries and wait_s <= LONGEST_WAIT_S
        return allowed and self.budget.take()

    def _failed(self, error: Exception, about: str, tries: int, wait_s: float) -> ConnectionError:
        """The error of a call, without the key."""
        cause = f" ({error.__cause__})" if isinstance(error, openai.APIConnectionError) and error.__cause__ else ""
        said = f"{str(error)[:300]}{cause}".replace(self.secret, "***")
        if wait_s > LONGEST_WAIT_S:
            said += f"; it asks to come back in {wait_s:.3g} s, and {LONGEST_WAIT_S:g} s are the most that are waited"
        elif self.max_retries and self.budget.left < 1:
            said += "; so many calls had to be made again that the budget of retries is used up"
        away = isinstance(error.__cause__, httpx2.ConnectError)
        status = error.status_code if isinstance(error, openai.APIStatusError) else None
        kind = ConnectionError if away or status in _EVERY_CALLS or is_overload(status or 0) else UnansweredError
        return kind(
            f"{self.server} gave no usable answer to {about}, asked {tries} times (max_retries {self.max_retries}): "
            f"{type(error).__name__}: {said}"
        )
