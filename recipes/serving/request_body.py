"""A request's body: read within its limits of bytes and time, as JSON that is no trap."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from starlette.requests import Request

from recipes.serving.request_errors import RequestError, bad_request
from recipes.serving.serving_settings import ServingLimits

_DEEPEST = 64
_MIB = 2**20


class BodyRoom:
    """Bytes of all bodies, from their first byte to the last of their answer: a video may be inside.

    Args:
        limits: of one, and of all together.
    """

    def __init__(self, limits: ServingLimits) -> None:
        self.limits, self.num_bytes = limits, 0

    @contextmanager
    def taking(self) -> Iterator[BodyShare]:
        """The room of one body, given back at the end."""
        share = BodyShare(self)
        try:
            yield share
        finally:
            self.num_bytes -= share.num_bytes


class BodyShare:
    """What one body has taken.

    Args:
        room: of all.
    """

    def __init__(self, room: BodyRoom) -> None:
        self.room, self.num_bytes = room, 0

    def take(self, num_bytes: int) -> None:
        """Raises:
        RequestError: the body is too large, or all bodies together are.
        """
        limits = self.room.limits
        if self.num_bytes + num_bytes > limits.body_mib * _MIB:
            raise too_large(f"the request has more than {limits.body_mib} MiB")
        if self.room.num_bytes + num_bytes > limits.bodies_mib * _MIB:
            raise RequestError(
                429, "too many large requests are being read; come again", code="server_busy", retry_after_s=2.0
            )
        self.num_bytes += num_bytes
        self.room.num_bytes += num_bytes


def too_large(message: str) -> RequestError:
    """More bytes than are taken."""
    return RequestError(413, message, code="request_too_large")


async def read_json(request: Request, share: BodyShare) -> dict[str, Any]:
    """The JSON object of a request.

    Raises:
        RequestError: another content type, too many bytes, too slow, no JSON, numbers that are not finite, or too deep.
        ClientDisconnect: the client has gone.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise RequestError(415, f"Content-Type is {kind or 'missing'!r:.100}; send application/json", code="wrong_type")
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise RequestError(415, "a packed body (Content-Encoding) is not taken; send it as it is", code="wrong_type")
    length = request.headers.get("content-length", "0")
    most = share.room.limits.body_mib
    if length.isdecimal() and int(length) > most * _MIB:
        raise too_large(f"the request has {int(length) / _MIB:.1f} MiB, and {most} are taken")
    return parsed(await _content(request, share))


async def _content(request: Request, share: BodyShare) -> bytes:
    chunks: list[bytes] = []
    stream = request.stream()
    while True:
        try:
            chunk = await asyncio.wait_for(anext(stream), share.room.limits.reading_s)
        except StopAsyncIteration:
            return b"".join(chunks)
        except TimeoutError:
            raise RequestError(408, "the request's body did not come in time", code="too_slow") from None
        share.take(len(chunk))
        chunks.append(chunk)


def parsed(content: bytes) -> dict[str, Any]:
    """A JSON object.

    Raises:
        RequestError: it is none.
    """
    try:
        found = json.loads(content, parse_constant=_not_finite, parse_float=_finite)
    except RecursionError:
        raise bad_request("the JSON is nested too deeply", code="invalid_json") from None
    except ValueError as error:  # of JSON, of UTF-8, or a number of thousands of digits
        raise bad_request(f"the body is no JSON: {str(error)[:200]}", code="invalid_json") from None
    if not isinstance(found, dict):
        raise bad_request("the body is no JSON object", code="invalid_json")
    if _too_deep(found):
        raise bad_request(f"the JSON is nested more than {_DEEPEST} deep", code="invalid_json")
    return found


def _too_deep(node: Any) -> bool:
    level = [node]
    for _ in range(_DEEPEST):
        level = [
            inner
            for outer in level
            if isinstance(outer, (dict, list))
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return False
    return True


def _not_finite(text: str) -> None:
    raise ValueError(f"{text} is no number of JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:20]} is too large for a number")
    return number
