"""A served model that answers anything at all: within a time and a size it is the right score or a named error."""

from __future__ import annotations

import contextlib
import gzip
import json
import math
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest
import torch
from chat_server import ChatServer, Fault, send

from modules.mllms.base import FrameTokens, Row
from modules.mllms.openai import OpenAIChat
from modules.records import VideoQuestion

QUESTION = VideoQuestion("d", "s", "q7", "v", 60.0, "Is it bright?", ("no", "yes"), 1)
ROW = Row(QUESTION, FrameTokens(torch.full((1, 3, 8, 8), 204, dtype=torch.uint8), torch.zeros(1)), torch.arange(1))
DEADLINE_S = 0.6


@pytest.fixture
def server() -> Iterator[ChatServer]:
    running = ChatServer()
    yield running
    running.close()


def model(server: ChatServer, **arguments) -> OpenAIChat:
    return OpenAIChat(**{"model": "m", "base_url": server.url, "max_retries": 0, "timeout_s": DEADLINE_S, **arguments})


def sent(payload: bytes, **headers: str) -> Fault:
    return lambda handler, _: send(handler, payload, **headers)


def reply(change: Callable[[dict[str, Any]], Any]) -> Fault:
    """The reply as it should be, with something changed in it."""

    def play(handler: BaseHTTPRequestHandler, whole: dict[str, Any]) -> None:
        changed = change(whole)
        send(handler, json.dumps(whole if changed is None else changed).encode())

    return play


def choice(**values: Any) -> Fault:
    return reply(lambda whole: whole["choices"][0].update(values))


def top(*entries: Any) -> Fault:
    """The likeliest tokens: (token, log-probability), or whatever is no such pair."""
    made = [{"token": e[0], "logprob": e[1], "bytes": None} if isinstance(e, tuple) else e for e in entries]
    return choice(logprobs={"content": [{"token": "B", "logprob": -0.1, "bytes": None, "top_logprobs": made}]})


def drip(*parts: bytes, pause_s: float) -> Fault:
    def play(handler: BaseHTTPRequestHandler, _: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):
            for part in parts:
                handler.wfile.write(part)
                time.sleep(pause_s)

    return play


def endless(handler: BaseHTTPRequestHandler, _: dict[str, Any]) -> None:
    with contextlib.suppress(OSError):
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")
        while True:
            handler.wfile.write(b" " * 2**16)


def with_the_key(handler: BaseHTTPRequestHandler, _: dict[str, Any]) -> None:
    send(handler, json.dumps({"error": {"message": f"no rights: {handler.headers['Authorization']}"}}).encode(), 401)


def packed(handler: BaseHTTPRequestHandler, whole: dict[str, Any]) -> None:
    send(handler, gzip.compress(json.dumps(whole).encode()), Content_Encoding="gzip")


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
BOMB = zlib.compressobj(9, wbits=31)
BOMB_BYTES = b"".join([*(BOMB.compress(b" " * 2**20) for _ in range(512)), BOMB.flush()])

REFUSED: dict[str, Fault] = {
    "NaN": top(("A", -0.5), ("B", math.nan)),
    "infinite": top(("A", -0.5), ("B", math.inf)),
    "above 0": top(("A", 3.0)),
    "log-probability null": top(("A", None)),
    "log-probability in words": top(("A", "half")),
    "log-probability of 400 digits": top(("A", -0.2), ("B", -(10**400))),
    "token null": top((None, -0.5)),
    "token a number": top((5, -0.5)),
    "entries are words": top("A", "B"),
    "top_logprobs an object": choice(logprobs={"content": [{"token": "B", "logprob": 0, "top_logprobs": {"A": -1}}]}),
    "top_logprobs empty": top(),
    "logprobs null": choice(logprobs=None),
    "logprobs without content": choice(logprobs={"content": None}),
    "logprobs a word": choice(logprobs="none"),
    "logprobs of nothing": choice(logprobs={"content": []}),
    "message null": choice(message=None),
    "message a word": choice(message="B"),
    "choices null": reply(lambda whole: whole.update(choices=None)),
    "choices empty": reply(lambda whole: whole.update(choices=[])),
    "choices an object": reply(lambda whole: whole.update(choices={"0": whole["choices"][0]})),
    "choices of null": reply(lambda whole: whole.update(choices=[None])),
    "choices of words": reply(lambda whole: whole.update(choices=["B"])),
    "a list": reply(lambda whole: [whole]),
    "a word": reply(lambda whole: "B"),
    "a number": reply(lambda whole: 7),
    "null": sent(b"null"),
    "another object": reply(lambda whole: {"object": "list", "data": []}),
    "a page": sent(b"<html>please log in</html>", Content_Type="text/html"),
    "nothing": sent(b""),
    "cut JSON": sent(b'{"id": "x", "choices": [{"ind'),
    "no UTF-8": sent(b'{"id": "\xff\xfe", "choices": []}'),
    "nested": sent(b"[" * 200_000),
    "a number of 100 000 digits": sent(b'{"choices": ' + b"9" * 100_000 + b"}"),
    "one word of 32 MiB": sent(b'"' + b"x" * 2**25 + b'"'),
    "without end": endless,
    "gzip bomb": sent(BOMB_BYTES, Content_Encoding="gzip"),
    "cut gzip": sent(gzip.compress(b'{"choices": []}')[:-6], Content_Encoding="gzip"),
    "no gzip": sent(b'{"choices": []}', Content_Encoding="gzip"),
    "brotli": sent(b"\x0b\x02\x80", Content_Encoding="br"),
    "dripping body": drip(HEAD + b"Content-Length: 4000\r\n\r\n", *[b" "] * 100, pause_s=0.1),
    "dripping head": drip(HEAD, *(f"X-{n}: 1\r\n".encode() for n in range(100)), pause_s=0.1),
    "dripping 1xx": drip(*[b"HTTP/1.1 103 Early Hints\r\n\r\n"] * 100, pause_s=0.1),
    "never": drip(b"", b"", pause_s=3),
    "shorter than it says": drip(HEAD + b"Content-Length: 4000\r\n\r\n{", pause_s=0),
    "no HTTP": drip(b"SSH-2.0-OpenSSH\r\n", pause_s=0),
    "chunks of nonsense": drip(HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n", pause_s=0),
    "a head of 4 MiB": drip(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 2**22 + b"\r\n\r\n{}", pause_s=0),
    "elsewhere": sent(b"", status=307, Location="http://127.0.0.1:9/v1/chat/completions"),  # type: ignore[arg-type]
    "no content": sent(b"", status=204),  # type: ignore[arg-type]
    "not changed": sent(b"", status=304),  # type: ignore[arg-type]
    "refused": sent(b'{"error": {"message": "too many images"}}', status=400),  # type: ignore[arg-type]
    "later": sent(b"{}", status=429, Retry_After="1e9"),  # type: ignore[arg-type]
    "broken": sent(b"\x00" * 100, status=500),  # type: ignore[arg-type]
}
"""What is no answer, by name."""

READ: dict[str, tuple[Fault, list[float] | None]] = {
    "a number in quotes": (top(("A", -0.2), ("B", "-0.2")), [0.5, 0.5]),
    "minus infinity": (top(("A", -0.2), ("B", -math.inf)), [1, 0]),
    "minus infinity in 1e30": (top(("A", -1e30), ("B", -0.2)), [0, 1]),
    "rounded above 0": (top(("B", 1e-6)), [0, 1]),
    "as tokenizers write": (top(("\u2581A", math.log(0.3)), ("\u0120B", math.log(0.6))), [1 / 3, 2 / 3]),
    "no letter": (top(("The", -0.1), ("a", -3.0)), None),
    "letters never": (top(("The", -0.1), ("A", -9999.0), ("B", -9999.0)), None),
    "gzip": (packed, [0.19 / 0.99, 0.8 / 0.99]),
}
"""What is an answer, with the shares of its options; None where it names none, which is counted."""


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_answer_is_a_named_error_in_time(server, name: str) -> None:
    server.faults = [REFUSED[name]] * 3
    tracemalloc.start()
    started = time.perf_counter()
    with pytest.raises(ConnectionError, match=r"(?s)127\.0\.0\.1.*q7"):
        model(server).score_rows([ROW])
    assert time.perf_counter() - started < DEADLINE_S + 1.5
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 150 * 2**20  # the server's half of the 32 MiB and of the bomb is among it


@pytest.mark.parametrize("name", sorted(REFUSED.keys() - {"refused", "elsewhere", "not changed", "later"}))
@pytest.mark.long
def test_what_is_no_answer_once_is_asked_for_again(server, name: str) -> None:
    server.faults = [REFUSED[name]]
    served = model(server, max_retries=1)
    assert served.score_rows([ROW]).exp()[0].tolist() == pytest.approx([0.19 / 0.99, 0.8 / 0.99], abs=0.02)


@pytest.mark.parametrize("name", READ)
def test_what_is_an_answer_is_read(server, name: str) -> None:
    fault, shares = READ[name]
    server.faults = [fault]
    served = model(server)
    scores = served.score_rows([ROW])[0]
    if shares is None:
        assert scores.isinf().all()
        assert served.num_unread == 1
    else:
        assert scores.exp().tolist() == pytest.approx(shares, abs=0.01)


@pytest.mark.parametrize(
    ("content", "shares"),
    [
        ("A man walks in.", None),
        (None, None),
        ("B\ud800", [0, 1]),
        ([{"type": "text", "text": "B"}], ValueError),
        (7, ValueError),
    ],
)
def test_texts_are_read_as_texts(server, content: Any, shares: Any) -> None:
    server.faults = [choice(message={"role": "assistant", "content": content})]
    served = model(server, log_probs_from="answer")
    if shares is ValueError:
        with pytest.raises(ConnectionError, match="no text"):
            served.score_rows([ROW])
        return
    scores = served.score_rows([ROW])[0]
    assert scores.isinf().all() if shares is None else scores.exp().tolist() == shares


def test_half_a_surrogate_pair_reaches_no_file(server) -> None:
    server.faults = [choice(message={"role": "assistant", "content": "B \ud83d"})]
    assert model(server).generate([ROW], 4).texts == ["B ?"]


def test_the_key_is_in_no_error(server, monkeypatch) -> None:
    monkeypatch.setenv("PRIVATE_API_KEY", "sk-very-private")
    server.faults = [with_the_key]
    with pytest.raises(ConnectionError, match="no rights") as caught:
        model(server, api_key_variable="PRIVATE_API_KEY").score_rows([ROW])
    error: BaseException | None = caught.value
    while error is not None:
        assert "very-private" not in str(error)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def test_what_was_made_again_and_what_was_not_read_is_told_at_the_end(server) -> None:
    server.faults = ["500", "malformed", top(("The", -0.1))]
    served = model(server, max_retries=2)
    served.score_rows([ROW])
    assert served.shortfalls() == {
        "calls to m were made again": 2,
        "questions got no answer of m and were left out": 0,
        "answers of m named no option and count as wrong": 1,
    }


def test_one_that_fails_ends_the_others(server) -> None:
    server.faults = ["400", *["slow"] * 20]
    started = time.perf_counter()
    with pytest.raises(ConnectionError, match="too many images"):
        model(server, concurrency=1).score_rows([ROW] * 20)
    assert time.perf_counter() - started < 2
    assert len(server.requests) <= 2
