"""Videos from other servers, where the person who runs this one has named those servers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from urllib.parse import urlsplit

import httpx2

from recipes.serving.request_body import too_large
from recipes.serving.request_errors import RequestError, bad_request

_MIB = 2**20


class RemoteVideos:
    """Fetches videos from named hosts; redirects are not followed, since they may lead anywhere.

    Args:
        hosts: ``name`` or ``name:port``, in small letters.
        most_mib: of a video.
        within_s: all of it.
        transport: in tests, what stands for the network.
    """

    def __init__(
        self,
        hosts: Sequence[str],
        most_mib: int,
        within_s: float,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self.hosts, self.most_mib, self.within_s, self.transport = tuple(hosts), most_mib, within_s, transport

    def check(self, url: str) -> None:
        """Raises:
        RequestError: its host is not among those that are named.
        """
        try:
            parts = urlsplit(url)
            host, port = (parts.hostname or "").lower(), parts.port
        except ValueError:
            raise bad_request("the video's address is malformed", "messages", "invalid_url") from None
        names = (host, f"{host}:{port or (443 if parts.scheme == 'https' else 80)}")
        if not host or parts.username is not None or not any(name in self.hosts for name in names):
            allowed = ", ".join(self.hosts) or "none"
            raise RequestError(
                403,
                f"videos are not fetched from {host or 'nowhere'!r:.100}; hosts that are named here: {allowed} "
                "(--remote_hosts). Send the video as a data: URL",
                code="remote_host",
                param="messages",
            )

    async def fetch(self, url: str) -> bytes:
        """The content at an address.

        Raises:
            RequestError: the host is not named, or the content is not to be had whole within limits.
        """
        self.check(url)
        try:
            async with asyncio.timeout(self.within_s):
                return await self._content(url)
        except (TimeoutError, httpx2.HTTPError) as error:
            reason = type(error).__name__ if isinstance(error, httpx2.HTTPError) else f"not within {self.within_s:g} s"
            raise bad_request(f"the video could not be fetched: {reason}", "messages", "unreachable_video") from None

    async def _content(self, url: str) -> bytes:
        content = bytearray()
        async with (
            httpx2.AsyncClient(
                transport=self.transport, follow_redirects=False, timeout=self.within_s, trust_env=False
            ) as client,
            client.stream("GET", url, headers={"Accept-Encoding": "identity"}) as answer,
        ):
            if answer.status_code != 200:
                raise bad_request(
                    f"the video could not be fetched: status {answer.status_code}", "messages", "unreachable_video"
                )
            async for chunk in answer.aiter_raw():
                content += chunk
                if len(content) > self.most_mib * _MIB:
                    raise too_large(f"the video has more than {self.most_mib} MiB")
        return bytes(content)
