"""HTTP answers that are whole within a time and a size.

The limits of HTTP libraries are of one read, so a server that drips a byte now and then is never late, and a few
kilobytes may unpack to gigabytes.
"""

from __future__ import annotations

import zlib
from typing import Any

import anyio
import httpx2
import openai

_KEPT_S = 4.0
"""A connection that nobody uses; uvicorn, and so vLLM, closes them after five seconds."""


class BoundedClient(openai.DefaultAsyncHttpxClient):
    """Gives to the official client only whole answers, and to it alone: redirects are not followed, since the request
    carries a key and somebody's frames.

    Args:
        deadline_s: from a request to the last byte of its answer.
        max_bytes: of an answer, unpacked.
        connections: kept open between calls, and open at most.
    """

    def __init__(self, deadline_s: float, max_bytes: int, connections: int = 100) -> None:
        limits = httpx2.Limits(
            max_connections=connections, max_keepalive_connections=connections, keepalive_expiry=_KEPT_S
        )
        headers = {"Accept-Encoding": "gzip"}
        super().__init__(timeout=deadline_s, follow_redirects=False, headers=headers, limits=limits)
        self.deadline_s, self.max_bytes = deadline_s, max_bytes

    async def send(self, request: httpx2.Request, **arguments: Any) -> httpx2.Response:
        """Raises:
        httpx2.ReadTimeout: the answer was not whole in time.
        httpx2.DecodingError: it is larger than allowed, cut off, or packed in another way than was asked for.
        """
        try:
            with anyio.fail_after(self.deadline_s):
                answer = await super().send(request, **arguments | {"stream": True})
                try:
                    content = await self._unpacked(answer)
                finally:
                    await answer.aclose()
        except TimeoutError as error:
            raise httpx2.ReadTimeout(f"no whole answer within {self.deadline_s:g} s", request=request) from error
        packed = ("content-encoding", "content-length", "transfer-encoding")
        headers = [(name, value) for name, value in answer.headers.multi_items() if name.lower() not in packed]
        return httpx2.Response(answer.status_code, headers=headers, content=content, request=request)

    async def _unpacked(self, answer: httpx2.Response) -> bytes:
        encoding = answer.headers.get("content-encoding", "identity").strip().lower()
        if encoding not in ("identity", "gzip", "x-gzip", "deflate"):
            raise httpx2.DecodingError(f"the answer is packed as {encoding!r}", request=answer.request)
        unpack = None if encoding == "identity" else zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)
        content = bytearray()
        async for chunk in answer.aiter_raw():
            try:
                content += chunk if unpack is None else unpack.decompress(chunk, self.max_bytes + 1 - len(content))
            except zlib.error as error:
                raise httpx2.DecodingError(f"the answer cannot be unpacked: {error}", request=answer.request) from error
            if len(content) > self.max_bytes:
                raise httpx2.DecodingError(f"the answer has more than {self.max_bytes:,} bytes", request=answer.request)
        if unpack is not None and not unpack.eof:
            raise httpx2.DecodingError("the packed answer ends too early", request=answer.request)
        return bytes(content)
