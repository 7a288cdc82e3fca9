"""Calls of a server keep to its pace, are made again where that may help, and never end in a wrong answer."""

from __future__ import annotations

import asyncio
import email.utils
import json
import random
import threading
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import httpx2
import openai
import pytest
import torch
from chat_server import ChatServer, send

from modules.mllms.base import FrameTokens, Row
from modules.mllms.chat_answers import MalformedAnswerError
from modules.mllms.openai import OpenAIChat
from modules.mllms.served.calls import Calls
from modules.mllms.served.pace import Pace
from modules.mllms.served.retries import RetryBudget, backoff_s, may_pass, retry_after_s
from modules.mllms.served.unanswered import UnansweredError
from modules.records import VideoQuestion

QUESTION = VideoQuestion("d", "s", "q7", "v", 60.0, "Is it bright?", ("no", "yes"), 1)
REQUEST = httpx2.Request("POST", "http://127.0.0.1:9/v1")


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def server() -> Iterator[ChatServer]:
    running = ChatServer()
    yield running
    running.close()


@pytest.fixture
def waits(monkeypatch) -> list[float]:
    """Seconds that were to be slept, which pass at once."""
    slept: list[float] = []
    clock = Clock()

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        clock.now += seconds

    monkeypatch.setattr("modules.mllms.served.calls.asyncio.sleep", sleep)  # the pace's too
    monkeypatch.setattr("modules.mllms.served.calls.Pace", partial(Pace, clock=clock))
    return slept


def model(server: ChatServer, **arguments: Any) -> OpenAIChat:
    return OpenAIChat(**{"model": "m", "base_url": server.url, "max_retries": 2, "timeout_s": 10.0, **arguments})


def rows(*brightness: int) -> list[Row]:
    return [
        Row(
            VideoQuestion("d", "s", f"q{n}", "v", 60.0, "Is it bright?", ("no", "yes"), 1),
            FrameTokens(torch.full((1, 3, 8, 8), b, dtype=torch.uint8), torch.zeros(1)),
            torch.arange(1),
        )
        for n, b in enumerate(brightness)
    ]


def status(code: int, **headers: str) -> openai.APIStatusError:
    answer = httpx2.Response(code, headers={k.replace("_", "-"): v for k, v in headers.items()}, request=REQUEST)
    return openai.APIStatusError(f"error {code}", response=answer, body=None)


# ---- pace ----


def test_a_round_of_answers_brings_one_call_more_and_overload_halves_them() -> None:
    pace, clock = Pace(16), Clock()
    pace._clock = clock
    assert pace.limit == 16
    pace.overloaded(began_s=0.0)
    assert pace.limit == 8
    for _ in range(8):
        pace.answered()
    assert 8.9 < pace.limit < 9.01  # eight answers, one call more
    for _ in range(1000):
        pace.answered()
    assert pace.limit == 16  # never more than the recipe says


def test_calls_that_were_on_their_way_at_a_halving_halve_no_more() -> None:
    clock = Clock()
    pace = Pace(16, clock)
    clock.now = 5.0
    for _ in range(10):
        pace.overloaded(began_s=3.0)
    assert (pace.limit, pace.num_halved) == (8, 1)
    clock.now = 6.0
    pace.overloaded(began_s=5.5)
    assert (pace.limit, pace.num_halved) == (4, 2)
    for began_s in (7.0, 8.0, 9.0, 10.0):
        clock.now = began_s
        pace.overloaded(began_s)
    assert pace.limit == 1  # and never less than one


def test_a_server_that_takes_two_at_a_time_answers_all(server) -> None:
    """It answers 429 to a third, as vLLM's gateways do; a client that asks 16 at a time halves, and loses nothing."""
    places = threading.Semaphore(2)

    def limited(handler: Any, whole: dict[str, Any]) -> None:
        handler.close_connection = False
        if not places.acquire(blocking=False):
            send(handler, b"{}", 429, Retry_After="0")
            return
        time.sleep(0.03)
        places.release()
        send(handler, json.dumps(whole).encode())

    server.faults = [limited] * 10_000
    served = model(server, concurrency=16, max_retries=8)
    scores = served.score_rows(rows(*[204, 51] * 15))
    assert scores.argmax(-1).tolist() == [1, 0] * 15
    assert served.calls.pace.num_halved >= 1
    assert served.calls.pace.limit < 16


def test_a_connection_is_used_again(server) -> None:
    served = model(server, concurrency=3)
    for _ in range(4):
        served.score_rows(rows(*[200] * 6))
    assert len(server.requests) == 24
    assert len(server.connections) <= 3


# ---- what is made again, and when ----


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after": email.utils.formatdate(1_000_000_030, usegmt=True)}, 30.0),
        ({"retry-after": email.utils.formatdate(999_999_000, usegmt=True)}, 0.0),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "Wed, 99 Foo 2026"}, None),
        ({}, None),
    ],
)
def test_retry_after_is_read_in_seconds_and_as_a_date(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after_s(headers, now_s=1_000_000_000.0) == seconds


def test_backoff_doubles_up_to_eight_seconds_and_is_never_alike() -> None:
    draw = random.Random(0)
    for failures, whole in ((1, 0.5), (2, 1.0), (3, 2.0), (5, 8.0), (50, 8.0)):
        waits = {backoff_s(failures, draw) for _ in range(50)}
        assert len(waits) == 50
        assert whole / 2 <= min(waits) < max(waits) <= whole


def test_a_budget_is_a_fifth_of_the_answers_beyond_a_burst() -> None:
    budget = RetryBudget(3)
    assert [budget.take() for _ in range(4)] == [True, True, True, False]
    for _ in range(4):
        budget.answered()
    assert not budget.take()
    budget.answered()
    assert budget.take()
    for _ in range(100):
        budget.answered()
    assert budget.left == 3


def test_what_may_pass() -> None:
    assert [code for code in (400, 401, 404, 408, 409, 422, 500, 501, 502, 504) if may_pass(code)] == [
        *(408, 409, 500, 502, 504)
    ]


def made(outcomes: list[Any], **arguments: Any) -> tuple[Any, Calls, int]:
    """What a call gives whose tries end like this, and how often it was made."""
    calls = Calls("http://server", "sk-secret", arguments.pop("concurrency", 4), arguments.pop("max_retries", 3))
    tries = 0

    async def call() -> Any:
        nonlocal tries
        tries += 1
        outcome = outcomes[tries - 1]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    try:
        found = asyncio.run(calls.made(call, "question q7"))
    except ConnectionError as error:
        found = error
    return found, calls, tries


@pytest.mark.parametrize(
    ("error", "tries", "kind"),
    [
        (status(500), 4, UnansweredError),
        (status(400), 1, UnansweredError),
        (status(401), 1, ConnectionError),
        (status(404), 1, ConnectionError),
        (status(429), 4, ConnectionError),
        (status(503, retry_after="0"), 4, ConnectionError),
        (status(429, retry_after="1e9"), 1, ConnectionError),
        (status(500, retry_after="1e9"), 1, UnansweredError),
        (openai.APITimeoutError(REQUEST), 4, UnansweredError),
        (MalformedAnswerError("no choice"), 4, UnansweredError),
    ],
)
def test_what_never_works_is_an_error_of_the_question_or_of_the_server(waits, error, tries: int, kind: type) -> None:
    found, calls, number = made([error] * 20)
    assert type(found) is kind
    assert number == tries
    assert calls.num_retries == tries - 1
    assert "http://server gave no usable answer to question q7" in str(found)
    assert "sk-secret" not in str(found)


def test_a_server_that_is_away_is_waited_for_by_all_calls_together(waits) -> None:
    away = openai.APIConnectionError(request=REQUEST)
    away.__cause__ = httpx2.ConnectError("refused", request=REQUEST)
    found, calls, number = made([away, away, "here"])
    assert (found, number) == ("here", 3)
    assert calls.pace.limit < 4
    found, _, number = made([away] * 20)
    assert number == 4
    assert type(found) is ConnectionError


def test_what_the_server_asks_for_is_waited(waits) -> None:
    assert made([status(429, retry_after="30"), "here"])[0] == "here"
    assert any(29 < seconds <= 30.2 for seconds in waits)
    waits.clear()
    assert made([status(500, retry_after="30"), "here"])[0] == "here"
    assert any(30 <= seconds <= 31 for seconds in waits)


def test_a_used_up_budget_ends_in_an_error_that_says_so(waits) -> None:
    _, _, number = made([status(500)] * 20, concurrency=1, max_retries=0)
    assert number == 1
    calls = Calls("s", "k", 1, 3)
    calls.budget.left = 1.0

    async def call() -> Any:
        raise status(500)

    with pytest.raises(UnansweredError, match="budget of retries is used up"):
        asyncio.run(calls.made(call, "q"))
    assert calls.num_retries == 1


# ---- a server that goes away ----


def test_nothing_is_lost_or_wrong_when_the_server_is_killed_and_started_again() -> None:
    first = ChatServer(delay_s=0.05)
    port = int(first.url.rsplit(":", 1)[1].split("/")[0])
    served = model(first, concurrency=16, max_retries=10)
    brightness = [(n * 37) % 256 for n in range(80)]
    started: list[ChatServer] = []

    def restart() -> None:
        time.sleep(0.12)
        first.close()
        time.sleep(0.3)
        started.append(ChatServer(port=port))

    killer = threading.Thread(target=restart)
    killer.start()
    try:
        scores = served.score_rows(rows(*brightness))
    finally:
        killer.join()
        started[0].close()
    p = torch.tensor(brightness).div(255).clamp(0.01, 0.97)
    expected = p / 0.99
    assert scores[:, 1].exp().tolist() == pytest.approx(expected.tolist(), abs=0.02)
    assert served.calls.num_retries > 0
    assert len(started[0].requests) > 10
