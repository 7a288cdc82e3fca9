"""The server's routes: OpenAI's chat protocol, where a system would look, what there is, how it goes, and a page."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio.to_thread
from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import PlainTextResponse, StreamingResponse

from recipes.serving.chat_request import ChatRequest, read_request
from recipes.serving.event_stream import PATIENCE_S, answer_events
from recipes.serving.forwarding import Forwarding
from recipes.serving.gate import PATHS, SHARE, Gate
from recipes.serving.jpeg_pictures import THUMBNAIL
from recipes.serving.presence import while_present
from recipes.serving.question_work import Outcome
from recipes.serving.reply_content import completion, own_content
from recipes.serving.request_body import read_json
from recipes.serving.request_errors import RequestError
from recipes.serving.server import Server
from recipes.serving.strict_answers import json_answer, refusal
from recipes.serving.web_page import page_answer

_NOT_KEPT = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


def build_app(server: Server) -> FastAPI:
    """The application."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        if server.forwarding is not None:
            await server.forwarding.upstream.close()
        await anyio.to_thread.run_sync(server.close)

    app = FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(Gate, access=server.access, bodies=server.bodies, metrics=server.metrics)
    _add_errors(app)

    @app.get("/")
    async def page() -> Response:
        return page_answer()

    @app.get("/health")
    async def health() -> Response:
        told = {"status": "ok", "open": server.lanes.num_open, "key": server.access.asks_for_a_key}
        return json_answer({**told, "body_mib": server.settings.limits.body_mib})

    @app.get("/metrics")
    async def metrics() -> Response:
        return PlainTextResponse(server.metrics.text(), media_type="text/plain; version=0.0.4")

    @app.get("/v1/models")
    async def models() -> Response:
        names, created = server.systems.names, server.started
        listed = [{"id": name, "object": "model", "created": created, "owned_by": "kairos"} for name in names]
        return json_answer({"object": "list", "data": listed})

    @app.post("/v1/chat/completions")
    async def chat(http: Request) -> Response:
        request = await _read(server, http, forwarded=server.forwarding is not None)
        if server.forwarding is not None:
            return await while_present(http, _forwarded(server, server.forwarding, request))
        return await while_present(http, _answered(server, request))

    @app.post("/v1/select")
    async def select(http: Request) -> Response:
        request = await _read(server, http, forwarded=False)
        outcome = await while_present(
            http, server.outcome(request, "select", THUMBNAIL if request.thumbnails else None)
        )
        return json_answer({"object": "selection", "model": request.model, **own_content(request, outcome)})

    return app


def _add_errors(app: FastAPI) -> None:
    """Whatever goes wrong is told in the protocol's form."""

    @app.exception_handler(RequestError)
    async def refused(_: Request, error: RequestError) -> Response:
        return refusal(error)

    @app.exception_handler(HTTPException)
    async def not_found(http: Request, error: HTTPException) -> Response:
        message = f"{http.method} {http.url.path[:100]}: {error.detail}; there are {', '.join(PATHS)}"
        found = refusal(RequestError(error.status_code, message, code="no_such_route"))
        found.headers.update(error.headers or {})
        return found

    @app.exception_handler(Exception)  # which goes on to the log
    async def failed(_: Request, __: Exception) -> Response:
        return refusal(RequestError(500, "the request failed; the server's log says why", code="internal_error"))


async def _read(server: Server, http: Request, *, forwarded: bool) -> ChatRequest:
    try:
        content = await read_json(http, http.scope[SHARE])
    except ClientDisconnect:
        raise RequestError(499, "the client has gone", code="gone") from None
    limits = server.settings.limits
    return await anyio.to_thread.run_sync(lambda: read_request(content, limits, forwarded=forwarded))


async def _answered(server: Server, request: ChatRequest) -> Response:
    """An answer of this server, whole or in pieces."""
    id_ = f"chatcmpl-{secrets.token_hex(12)}"
    work = server.outcome(request, "answer", THUMBNAIL if request.thumbnails else None)
    if not request.stream:
        return json_answer(completion(id_, request, await work))
    coming = asyncio.create_task(work)
    try:
        await asyncio.wait({coming}, timeout=PATIENCE_S)
        if coming.done():
            coming.result()
    except BaseException:
        coming.cancel()
        raise

    async def events() -> AsyncIterator[bytes]:
        try:
            async for each in answer_events(id_, request, coming):
                yield each
        finally:
            coming.cancel()

    coming.add_done_callback(_heard)
    return StreamingResponse(events(), media_type="text/event-stream", headers=_NOT_KEPT)


def _heard(coming: asyncio.Task[Outcome]) -> None:
    """If nobody waits for it any more, its error is nobody's."""
    if not coming.cancelled():
        coming.exception()


async def _forwarded(server: Server, forwarding: Forwarding, request: ChatRequest) -> Response:
    """An answer of the server behind this one, whole or in pieces."""
    within_s = server.settings.limits.timeout_s
    try:
        async with asyncio.timeout(within_s):
            outcome = await server.outcome(request, "select", forwarding.pictures)
            if not request.stream:
                return json_answer(await forwarding.answer(request, outcome))
            events = forwarding.events(request, outcome)
            first = await anext(events)
    except TimeoutError:
        raise RequestError(504, f"no answer within {within_s:g} s", code="timeout") from None

    async def all_events() -> AsyncIterator[bytes]:
        yield first
        async for each in events:
            yield each

    return StreamingResponse(all_events(), media_type="text/event-stream", headers=_NOT_KEPT)
