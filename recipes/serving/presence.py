"""Work for a client goes on for as long as the client is there."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.requests import Request

from recipes.serving.request_errors import RequestError

T = TypeVar("T")
_LOOK_S = 0.25
"""Between two looks."""


async def while_present(http: Request, work: Coroutine[Any, Any, T]) -> T:
    """What comes of some work, which is cancelled when the client leaves.

    Args:
        http: whose body has been read.
        work: for the client.

    Raises:
        RequestError: the client has gone.
    """
    doing, gone = asyncio.create_task(work), asyncio.create_task(_left(http))
    try:
        await asyncio.wait({doing, gone}, return_when="FIRST_COMPLETED")
        if doing.done():
            return doing.result()
        raise RequestError(499, "the client has gone", code="gone")
    finally:
        gone.cancel()
        if not doing.done():
            doing.cancel()
            await asyncio.gather(doing, return_exceptions=True)


async def _left(http: Request) -> None:
    while not await http.is_disconnected():
        await asyncio.sleep(_LOOK_S)
