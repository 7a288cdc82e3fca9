"""A server on its socket, until somebody stops it; what was begun is finished then."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable, Iterator

import uvicorn

from recipes.serving.app import build_app
from recipes.serving.server import Server
from recipes.serving.serving_settings import ServingSettings


def listening_socket(settings: ServingSettings) -> socket.socket:
    """Raises:
    ValueError: the address cannot be had.
    """
    try:
        family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
        return socket.create_server((settings.host, settings.port), family=family, backlog=128)
    except OSError as error:
        raise ValueError(
            f"cannot listen on {settings.host}:{settings.port}: {error.strerror or error}; --port 0 takes a free port"
        ) from error


class _Uvicorn(uvicorn.Server):
    """Leaves signals to whoever runs it, so that a server that was told to stop ends well."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for kind in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(kind, self.handle_exit, kind, None)
        try:
            yield
        finally:
            for kind in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(kind)


def listen(server: Server, bound: socket.socket, ready: Callable[[], None]) -> None:
    """Serves until SIGTERM or Ctrl-C: takes no new connections then, and finishes what it has begun.

    A second Ctrl-C ends it at once.

    Args:
        server: built.
        bound: socket that it listens on.
        ready: called when it does.
    """
    limits = server.settings.limits
    config = uvicorn.Config(
        build_app(server),
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=round(limits.stopping_s),
        timeout_keep_alive=30,
        limit_concurrency=4 * limits.queue,
        h11_max_incomplete_event_size=64 * 2**10,
        ws="none",
        loop="asyncio",
        http="h11",
    )

    class _Announced(_Uvicorn):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            ready()

    asyncio.run(_Announced(config).serve([bound]))
