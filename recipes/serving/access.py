"""Who may ask: a key where one is set, and on this machine nobody else's web page."""

from __future__ import annotations

import hmac
import os
from collections.abc import Iterable

from starlette.datastructures import Headers

from recipes.serving.request_errors import RequestError
from recipes.serving.serving_settings import LOOPBACK, ServingSettings

_OPEN = ("/", "/health")
"""What needs no key: a page without anything in it, and whether the server is there."""


class Access:
    """Lets requests in.

    Without a key only this machine is listened to. A web page that a person there has open can reach it all the same:
    by a name that leads to 127.0.0.1, which its ``Host`` gives away, or as a form, which is no JSON.

    Args:
        key: that clients have to send; None asks for none.
    """

    def __init__(self, key: str | None) -> None:
        self._key = None if key is None else key.encode()

    @classmethod
    def of(cls, settings: ServingSettings) -> Access:
        """As the settings and the environment say.

        Raises:
            ValueError: others could reach the server, and no key is set; or the key is too short to be one.
        """
        key = os.environ.get(settings.key_variable) or None
        if key is None and not settings.on_loopback:
            raise ValueError(
                f"host {settings.host}: others can reach it, so clients have to send a key; set "
                f"{settings.key_variable} (in the environment: it belongs in no recipe), or listen on 127.0.0.1"
            )
        if key is not None and len(key) < 8:
            raise ValueError(f"the key in {settings.key_variable} has {len(key)} characters; take 8 or more")
        return cls(key)

    @property
    def asks_for_a_key(self) -> bool:
        """Whether clients have to send one."""
        return self._key is not None

    def check(self, path: str, headers: Headers) -> None:
        """Raises:
        RequestError: the key is missing or wrong, or the request was meant for another host.
        """
        if self._key is None:
            _check_host(headers.get("host", ""), LOOPBACK)
            return
        if path in _OPEN:
            return
        scheme, _, given = headers.get("authorization", "").partition(" ")
        # in constant time, whatever was sent
        right = hmac.compare_digest(given.strip().encode("utf-8", "replace"), self._key)
        if scheme.lower() != "bearer" or not right:
            raise RequestError(401, "send the server's key: Authorization: Bearer KEY", code="invalid_api_key")


def _check_host(given: str, names: Iterable[str]) -> None:
    host = given.rpartition(":")[0] if given.rpartition(":")[2].isdecimal() else given
    if host.strip("[]").lower() not in names:
        raise RequestError(
            403, f"this server is for this machine alone, and the request is for {given!r:.100}", code="wrong_host"
        )
