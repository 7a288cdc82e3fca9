"""A server behind this one, which answers on the frames that are chosen here.

Whether it reads the true times of a list of pictures is found out once, by a request that only a server that reads them
refuses: one picture whose ``frames_indices`` are no numbers. Servers before 2026-04 take the field without a word and
make up times of their own (vLLM #34778 came two months before #40133), so that a field of that name proves nothing.
"""

from __future__ import annotations

import base64
import io
import logging
import os
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
from PIL import Image

from modules.files.strict_json import strict_json
from recipes.serving.request_errors import RequestError
from recipes.serving.serving_settings import UpstreamSettings
from recipes.serving.upstream_form import Form

_log = logging.getLogger(__name__)
_MOST_BYTES = 16 * 2**20
"""Of an answer in one piece, and of a line of one in pieces."""
_PASSED_ON = (400, 404, 413, 422)
"""Statuses that are the request's own fault there too."""


class Upstream:
    """Asks another server.

    Args:
        settings: which, and how frames are sent.
        timeout_s: of one request.
        transport: in tests, what stands for the network.
    """

    def __init__(
        self, settings: UpstreamSettings, timeout_s: float, transport: httpx2.AsyncBaseTransport | None = None
    ) -> None:
        assert settings.url is not None
        self.settings, self.url = settings, settings.url.rstrip("/")
        self.key = os.environ.get(settings.key_variable)
        headers = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        self._client = httpx2.AsyncClient(
            transport=transport,
            headers=headers,
            timeout=httpx2.Timeout(timeout_s, connect=10.0),
            follow_redirects=False,
            trust_env=False,
        )
        self._model, self._form = settings.model, None if settings.send == "auto" else settings.send

    async def close(self) -> None:
        """Closes connections."""
        await self._client.aclose()

    async def model(self) -> str:
        """The model's name there.

        Raises:
            RequestError: the server cannot be asked, or lists none.
        """
        if self._model is None:
            try:
                answer = await self._client.get(f"{self.url}/models")
                self._model = str(answer.json()["data"][0]["id"])
            except (httpx2.HTTPError, ValueError, LookupError, TypeError) as error:
                raise self._unreachable(error) from None
        return self._model

    async def form(self) -> Form:
        """How it reads frames; found out once."""
        if self._form is None:
            body = {
                "model": await self.model(),
                "max_tokens": 1,
                "messages": [
                    {
                        "role": "user",
                        "content": [
                            {"type": "video_url", "video_url": {"url": f"data:video/jpeg;base64,{_grey_picture()}"}},
                            {"type": "text", "text": "?"},
                        ],
                    }
                ],
                "media_io_kwargs": {"video": {"frames_indices": ["none"]}},
            }
            try:
                answer = await self._client.post(f"{self.url}/chat/completions", content=strict_json(body))
            except httpx2.HTTPError as error:
                raise self._unreachable(error) from None
            if answer.status_code in (429, 503):
                raise self._refused(answer.status_code, answer.headers, answer.content)
            reads = 400 <= answer.status_code < 600 and b"frames_indices" in answer.content
            self._form = "video" if reads else "images"
            closed = b"--trust-request-mm-kwargs" in answer.content
            _log.warning(
                "%s %s the times of frames that are sent as a video, so they are sent as %s%s",
                self.url,
                "reads" if reads else "does not read",
                "a video" if reads else "images, with their times in the text",
                "; started with --trust-request-mm-kwargs it would read them" if closed else "",
            )
        return self._form

    @asynccontextmanager
    async def asked(self, body: dict[str, Any]) -> AsyncIterator[tuple[httpx2.Response, int]]:
        """Its answer, not yet read, and the bytes that were sent.

        Raises:
            RequestError: it cannot be asked, or refuses.
        """
        content = strict_json(body).encode()
        request = self._client.build_request("POST", f"{self.url}/chat/completions", content=content)
        try:
            answer = await self._client.send(request, stream=True)
        except httpx2.HTTPError as error:
            raise self._unreachable(error) from None
        try:
            if answer.status_code != 200:
                raise self._refused(answer.status_code, answer.headers, await self._whole(answer))
            yield answer, len(content)
        finally:
            await answer.aclose()

    async def whole(self, answer: httpx2.Response) -> bytes:
        """An answer in one piece.

        Raises:
            RequestError: it breaks off, or is too large.
        """
        try:
            return await self._whole(answer)
        except httpx2.HTTPError as error:
            raise self._unreachable(error) from None

    async def _whole(self, answer: httpx2.Response) -> bytes:
        packed = answer.headers.get("content-encoding", "identity").lower()
        unpack = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32) if packed in ("gzip", "deflate") else None
        content = bytearray()
        async for chunk in answer.aiter_raw():
            content += chunk if unpack is None else unpack.decompress(chunk, _MOST_BYTES + 1 - len(content))
            if len(content) > _MOST_BYTES:
                raise RequestError(502, "the server behind this one said too much", code="upstream")
        return bytes(content)

    async def lines(self, answer: httpx2.Response) -> AsyncIterator[bytes]:
        """An answer in pieces, event by event.

        Raises:
            RequestError: it breaks off, or a line is too long.
        """
        rest = b""
        try:
            async for chunk in answer.aiter_raw():
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    yield line.rstrip(b"\r")
                if len(rest) > _MOST_BYTES:
                    raise RequestError(502, "the server behind this one said too much", code="upstream")
        except httpx2.HTTPError as error:
            raise self._unreachable(error) from None
        if rest:
            yield rest.rstrip(b"\r")

    def _unreachable(self, error: Exception) -> RequestError:
        _log.warning("%s: %s: %s", self.url, type(error).__name__, error)
        slow = isinstance(error, httpx2.TimeoutException)
        return RequestError(
            504 if slow else 502,
            f"the server behind this one {'did not answer in time' if slow else 'gave no usable answer'}: "
            f"{type(error).__name__}",
            code="upstream",
            retry_after_s=2.0,
        )

    def _refused(self, status: int, headers: httpx2.Headers, content: bytes) -> RequestError:
        """What it said, without the key, which it may have sent back."""
        said = content[:1000].decode("utf-8", "replace")
        said = said.replace(self.key, "***") if self.key else said
        _log.warning("%s answered with status %d: %s", self.url, status, said[:300])
        own_fault = status in _PASSED_ON
        retry = headers.get("retry-after", "")
        return RequestError(
            status if own_fault or status in (429, 503) else 502,
            f"the server behind this one refused (status {status}): {said[:300]}",
            code="upstream",
            retry_after_s=float(retry) if retry.isdecimal() else (2.0 if not own_fault else None),
        )


def _grey_picture() -> str:
    file = io.BytesIO()
    Image.new("RGB", (28, 28), (127, 127, 127)).save(file, "JPEG")
    return base64.b64encode(file.getvalue()).decode()
