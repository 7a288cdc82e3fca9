"""What every request passes first and every answer last: who may ask, how much of it is held, and how it went."""

from __future__ import annotations

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from recipes.serving.access import Access
from recipes.serving.request_body import BodyRoom
from recipes.serving.request_errors import RequestError
from recipes.serving.serving_metrics import ServingMetrics
from recipes.serving.strict_answers import refusal

SHARE = "kairos.share"
"""Where the routes find what a request may take."""
PATHS = ("/", "/health", "/metrics", "/v1/models", "/v1/chat/completions", "/v1/select")


class Gate:
    """Lets requests in, and counts answers.

    Args:
        app: behind it.
        access: who may ask.
        bodies: room for what is asked, until it is answered.
        metrics: are told how it went.
    """

    def __init__(self, app: ASGIApp, access: Access, bodies: BodyRoom, metrics: ServingMetrics) -> None:
        self.app, self.access, self.bodies, self.metrics = app, access, bodies, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        path = scope["path"] if scope["path"] in PATHS else "other"

        async def counting(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["X-Content-Type-Options"] = "nosniff"
                self.metrics.requests.add(1, path, str(message["status"]))
            await send(message)

        try:
            self.access.check(scope["path"], Headers(scope=scope))
        except RequestError as error:
            await refusal(error)(scope, receive, counting)
            return
        with self.bodies.taking() as share:
            await self.app({**scope, SHARE: share}, receive, counting)
