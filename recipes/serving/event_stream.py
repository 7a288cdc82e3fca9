"""An answer in pieces, as server-sent events of OpenAI's protocol.

A local model's answer is there all at once, so its words are sent as pieces when it is. Until then comments keep the
connection alive; and the status is not sent before something has begun, so that a request that is refused, and a video
that cannot be read, still have a status of their own.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

from modules.files.strict_json import strict_json
from recipes.serving.chat_request import OWN_FIELD, ChatRequest
from recipes.serving.question_work import Outcome
from recipes.serving.reply_content import answer_content, own_content, usage
from recipes.serving.request_errors import RequestError

KEEP_ALIVE_S = 5.0
PATIENCE_S = 2.0
"""For an answer or an error, before the status of a stream is sent."""
DONE = b"data: [DONE]\n\n"
_PIECES = re.compile(r"\s*\S+|\s+$")


def event(content: dict[str, Any]) -> bytes:
    """One event."""
    return f"data: {strict_json(content)}\n\n".encode()


async def answer_events(id_: str, request: ChatRequest, coming: asyncio.Task[Outcome]) -> AsyncIterator[bytes]:
    """The events of one answer.

    Args:
        id_: of the answer.
        request: that is answered.
        coming: what comes of it.
    """
    created = int(time.time())

    def chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        head = {"id": id_, "object": "chat.completion.chunk", "created": created, "model": request.model}
        return event({**head, "choices": [choice], **more})

    yield chunk({"role": "assistant", "content": ""})
    async for comment in kept_alive(coming):
        yield comment
    try:
        outcome = coming.result()
    except RequestError as error:
        yield event(error.content())
        return
    for piece in pieces(answer_content(request, outcome)):
        yield chunk({"content": piece})
    yield chunk({}, "stop", **{OWN_FIELD: own_content(request, outcome)})
    if request.usage_in_stream:
        head = {"id": id_, "object": "chat.completion.chunk", "created": created, "model": request.model}
        yield event({**head, "choices": [], "usage": usage(outcome)})
    yield DONE


async def kept_alive(coming: asyncio.Task[Any]) -> AsyncIterator[bytes]:
    """Comments, until something is there."""
    while True:
        done, _ = await asyncio.wait({coming}, timeout=KEEP_ALIVE_S)
        if done:
            return
        yield b": still at it\n\n"


def pieces(text: str) -> Iterator[str]:
    """The words of a text, which joined are the text."""
    at = 0
    for match in _PIECES.finditer(text):
        yield match[0]
        at = match.end()
    if at < len(text):
        yield text[at:]
