"""The server's routes: OpenAI's chat protocol, where a system would look, what there is, how it goes, and a page."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import logging
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import anyio.to_thread
from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, PlainTextResponse, StreamingResponse

from modules.files.strict_json import strict_json
from modules.records import VideoQuestion
from recipes.serving.access import Access
from recipes.serving.chat_request import ChatRequest, read_request
from recipes.serving.event_stream import PATIENCE_S, answer_events
from recipes.serving.forwarding import Forwarding
from recipes.serving.question_lanes import QuestionLanes
from recipes.serving.question_work import Kind, Outcome, QuestionWork
from recipes.serving.reply_content import completion, own_content
from recipes.serving.request_body import BodyRoom, ClientDisconnect, read_json
from recipes.serving.request_errors import RequestError
from recipes.serving.served_systems import ServedSystems
from recipes.serving.serving_metrics import ServingMetrics
from recipes.serving.serving_settings import ServingSettings
from recipes.serving.video_intake import VideoIntake

_log = logging.getLogger(__name__)
_PAGE = Path(__file__).parent / "page" / "index.html"
_LOOK_S = 0.25
"""Between two looks at whether a client is still there."""
_PATHS = ("/", "/health", "/metrics", "/v1/models", "/v1/chat/completions", "/v1/select")


class Server:
    """What the routes share.

    Args:
        settings: of the server.
        systems: that answer.
        intake: of videos.
        access: who may ask.
        forwarding: to a server behind this one; None answers here.
        metrics: of all that happens.
    """

    def __init__(
        self,
        settings: ServingSettings,
        systems: ServedSystems,
        intake: VideoIntake,
        access: Access,
        *,
        forwarding: Forwarding | None,
        metrics: ServingMetrics,
    ) -> None:
        self.settings, self.systems, self.intake, self.access = settings, systems, intake, access
        self.forwarding, self.metrics = forwarding, metrics
        self.lanes = QuestionLanes(systems, settings.limits, metrics)
        self.bodies = BodyRoom(settings.limits)
        self.started = int(time.time())
        metrics.gauges |= {
            "kairos_questions_open": ("Questions that wait or are being answered.", lambda: self.lanes.num_open),
            "kairos_upload_bytes": ("Videos that were sent, on disk.", lambda: intake.shelf.num_bytes),
            "kairos_body_bytes": ("Requests that are being read.", lambda: self.bodies.num_bytes),
        }

    async def outcome(self, request: ChatRequest, kind: Kind, pictures: bool, http: Request) -> Outcome:
        """What comes of a question.

        Raises:
            RequestError: nothing does.
        """
        limits, started = self.settings.limits, time.monotonic()
        system = self.systems.named(request.model)
        gone = asyncio.create_task(_left(http))
        try:
            async with AsyncExitStack() as used:
                path = await used.enter_async_context(self.intake.file_of(request.video))
                work = QuestionWork(
                    kind=kind,
                    system=system,
                    question=VideoQuestion(
                        "serve", "predict", "serve-0", str(path), 0.0, request.question, request.options,
                        until_s=request.at_s,
                    ),
                    video_name=request.video.name,
                    num_frames=request.num_frames or min(self.systems.num_frames, limits.chosen_frames),
                    max_new_tokens=request.max_new_tokens,
                    pictures=pictures,
                    deadline=started + limits.timeout_s,
                )
                await anyio.to_thread.run_sync(self.lanes.submit, work)
                coming = asyncio.ensure_future(asyncio.wrap_future(work.outcome))
                try:
                    await asyncio.wait({coming, gone}, timeout=limits.timeout_s, return_when="FIRST_COMPLETED")
                    if not coming.done():
                        late = not gone.done()
                        raise RequestError(
                            504 if late else 499,
                            f"no answer within {limits.timeout_s:g} s" if late else "the client has gone",
                            code="timeout" if late else "gone",
                        )
                    outcome = coming.result()
                finally:
                    if not coming.done():
                        work.gone.set()
                        self.lanes.look()
                        coming.add_done_callback(_heard)
        finally:
            gone.cancel()
        self.metrics.seconds.add(time.monotonic() - started)
        if outcome.reply is not None:
            self.metrics.frames.add(outcome.reply.cost.frames_decoded, "decoded")
            self.metrics.frames.add(outcome.reply.cost.frames_shown, "shown")
        return outcome

    def close(self) -> None:
        """Ends the lanes and the decoders, and removes what was sent."""
        self.lanes.close()
        self.systems.close()
        self.intake.shelf.close()


def _heard(coming: asyncio.Future[Outcome]) -> None:
    """Nobody waits for it: its error is nobody's."""
    if not coming.cancelled():
        coming.exception()


async def _left(http: Request) -> None:
    """Returns once the client has gone."""
    while not await http.is_disconnected():
        await asyncio.sleep(_LOOK_S)


def build_app(server: Server) -> FastAPI:
    """The application."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        if server.forwarding is not None:
            await server.forwarding.upstream.close()
        await anyio.to_thread.run_sync(server.close)

    app = FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)

    @app.middleware("http")
    async def counted(http: Request, go_on: Callable[[Request], Awaitable[Response]]) -> Response:
        path = http.url.path if http.url.path in _PATHS else "other"
        try:
            server.access.check(http.url.path, http.headers)
            response = await go_on(http)
        except RequestError as error:
            response = _refusal(error)
        response.headers["X-Content-Type-Options"] = "nosniff"
        server.metrics.requests.add(1, path, str(response.status_code))
        return response

    @app.exception_handler(RequestError)
    async def refused(_: Request, error: RequestError) -> Response:
        return _refusal(error)

    @app.exception_handler(HTTPException)
    async def not_found(http: Request, error: HTTPException) -> Response:
        message = f"{http.method} {http.url.path[:100]}: {error.detail}; there are {', '.join(_PATHS)}"
        found = _refusal(RequestError(error.status_code, message, code="no_such_route"))
        found.headers.update(error.headers or {})
        return found

    @app.exception_handler(Exception)
    async def failed(_: Request, error: Exception) -> Response:
        _log.error("a request failed", exc_info=error)
        return _refusal(RequestError(500, "the request failed; the server's log says why", code="internal_error"))

    @app.get("/", response_class=HTMLResponse)
    async def page() -> Response:
        content = await anyio.to_thread.run_sync(_PAGE.read_bytes)
        return HTMLResponse(content, headers={"Content-Security-Policy": _policy(content)})

    @app.get("/health")
    async def health() -> Response:
        return _json({"status": "ok", "open": server.lanes.num_open, "key": server.access.asks_for_a_key})

    @app.get("/metrics")
    async def metrics() -> Response:
        return PlainTextResponse(server.metrics.text(), media_type="text/plain; version=0.0.4")

    @app.get("/v1/models")
    async def models() -> Response:
        listed = [
            {"id": name, "object": "model", "created": server.started, "owned_by": "kairos"}
            for name in server.systems.names
        ]
        return _json({"object": "list", "data": listed})

    @app.post("/v1/chat/completions")
    async def chat(http: Request) -> Response:
        request = await _read(server, http, forwarded=server.forwarding is not None)
        if server.forwarding is not None:
            return await _forwarded(server, server.forwarding, request, http)
        return await _answered(server, request, http)

    @app.post("/v1/select")
    async def select(http: Request) -> Response:
        request = await _read(server, http, forwarded=False)
        outcome = await server.outcome(request, "select", request.thumbnails, http)
        return _json({"object": "selection", "model": request.model, **own_content(request, outcome)})

    return app


async def _read(server: Server, http: Request, *, forwarded: bool) -> ChatRequest:
    with server.bodies.taking() as share:
        try:
            content = await read_json(http, share)
        except ClientDisconnect:
            raise RequestError(499, "the client has gone", code="gone") from None
        return await anyio.to_thread.run_sync(
            lambda: read_request(content, server.settings.limits, forwarded=forwarded)
        )


async def _answered(server: Server, request: ChatRequest, http: Request) -> Response:
    id_ = f"chatcmpl-{secrets.token_hex(12)}"
    if not request.stream:
        return _json(completion(id_, request, await server.outcome(request, "answer", request.thumbnails, http)))
    coming = asyncio.create_task(server.outcome(request, "answer", request.thumbnails, http))
    return await _streamed(coming, answer_events(id_, request, coming))


async def _forwarded(server: Server, forwarding: Forwarding, request: ChatRequest, http: Request) -> Response:
    async with asyncio.timeout(server.settings.limits.timeout_s):
        outcome = await server.outcome(request, "select", True, http)
        if not request.stream:
            return _json(await forwarding.answer(request, outcome))
        events = forwarding.events(request, outcome)
        first = await anext(events)

    async def all_events() -> AsyncIterator[bytes]:
        yield first
        async for each in events:
            yield each

    return StreamingResponse(all_events(), media_type="text/event-stream", headers=_NOT_KEPT)


async def _streamed(coming: asyncio.Task[Outcome], events: AsyncIterator[bytes]) -> Response:
    """A stream, whose status tells of what goes wrong at once."""
    try:
        await asyncio.wait({coming}, timeout=PATIENCE_S)
    except asyncio.CancelledError:
        coming.cancel()
        raise
    if coming.done():
        coming.result()

    async def all_events() -> AsyncIterator[bytes]:
        try:
            async for each in events:
                yield each
        finally:
            coming.cancel()
            with suppress(BaseException):
                coming.exception()

    return StreamingResponse(all_events(), media_type="text/event-stream", headers=_NOT_KEPT)


_NOT_KEPT = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


def _json(content: dict[str, Any], status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(strict_json(content), status, media_type="application/json", headers=headers)


def _refusal(error: RequestError) -> Response:
    return _json(error.content(), error.status, error.headers)


def _policy(page: bytes) -> str:
    """The page may run its own script and speak to this server, and nothing else."""
    hashes = {
        tag: " ".join(f"'sha256-{_digest(part)}'" for part in _inside(page, tag)) for tag in (b"script", b"style")
    }
    return (
        f"default-src 'none'; script-src {hashes[b'script']}; style-src {hashes[b'style']}; img-src data: blob:; "
        "media-src blob:; connect-src 'self'; form-action 'none'; frame-ancestors 'none'; base-uri 'none'"
    )


def _inside(page: bytes, tag: bytes) -> list[bytes]:
    parts = page.split(b"<" + tag + b">")[1:]
    return [part.partition(b"</" + tag + b">")[0] for part in parts]


def _digest(content: bytes) -> str:
    return base64.b64encode(hashlib.sha256(content).digest()).decode()

