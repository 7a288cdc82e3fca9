"""What a client is told when something is wrong, in the form of OpenAI's API."""

from __future__ import annotations

from typing import Any

_TYPES = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}
"""By status; other 4xx are the request's fault, 5xx the server's."""


class RequestError(Exception):
    """A request that is not answered.

    Args:
        status: of HTTP.
        message: what is wrong, and what to do.
        code: a word for programs.
        param: the part of the request that it is about.
        retry_after_s: when to come again.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.param = status, message, code, param
        self.retry_after_s = retry_after_s

    @property
    def headers(self) -> dict[str, str]:
        """That go with it."""
        found = {} if self.retry_after_s is None else {"Retry-After": str(max(1, round(self.retry_after_s)))}
        return found | ({"WWW-Authenticate": "Bearer"} if self.status == 401 else {})

    def content(self) -> dict[str, Any]:
        """Its JSON."""
        other = "server_error" if self.status >= 500 else "invalid_request_error"
        kind = _TYPES.get(self.status, other)
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}


def bad_request(message: str, param: str | None = None, code: str | None = None) -> RequestError:
    """The request's own fault."""
    return RequestError(400, message, code=code, param=param)


def unreadable_video(name: str, reason: str) -> RequestError:
    """The file is at fault.

    Args:
        name: by which the client knows it.
        reason: without the place where the file lies here.
    """
    return bad_request(f"the video {name} cannot be read: {reason}", "messages", "unreadable_video")
