"""Answers by a server behind this one, with where was looked and what it cost beside them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

from recipes.serving.chat_request import OWN_FIELD, ChatRequest
from recipes.serving.event_stream import DONE, event
from recipes.serving.jpeg_pictures import PictureForm, as_text
from recipes.serving.question_work import Outcome
from recipes.serving.reply_content import own_content, times_of_pictures
from recipes.serving.request_errors import RequestError
from recipes.serving.serving_metrics import ServingMetrics
from recipes.serving.upstream import Upstream
from recipes.serving.upstream_form import forwarded_body


class Forwarding:
    """Sends chosen frames on.

    Args:
        upstream: to whom.
        metrics: are told what was sent.
    """

    def __init__(self, upstream: Upstream, metrics: ServingMetrics) -> None:
        self.upstream, self.metrics = upstream, metrics

    @property
    def pictures(self) -> PictureForm:
        """How frames are sent."""
        settings = self.upstream.settings
        return PictureForm(settings.image_side_px, settings.jpeg_quality)

    async def body(self, request: ChatRequest, outcome: Outcome) -> tuple[dict[str, Any], dict[str, Any]]:
        """What is sent, and a description of it.

        Raises:
            RequestError: there are no frames, or the server cannot be asked.
        """
        if outcome.pictures is None or outcome.selection is None:
            raise RequestError(400, f"the system {request.model!r} chooses no frames to send on", code="no_frames")
        form, model = await self.upstream.form(), await self.upstream.model()
        pictures = [as_text(picture) for picture in outcome.pictures]
        candidates = outcome.candidates
        times_s = times_of_pictures(outcome)
        sent = forwarded_body(
            request,
            model,
            form,
            pictures,
            times_s,
            duration_s=candidates.duration_s,
            video_fps=candidates.video_fps,
        )
        told = {"model": model, "frames_as": form, "frames": len(pictures)}
        return sent, told

    async def answer(self, request: ChatRequest, outcome: Outcome) -> dict[str, Any]:
        """Its answer in one piece.

        Raises:
            RequestError: there is none.
        """
        body, told = await self.body(request, outcome)
        try:
            async with self.upstream.asked(body) as (answer, num_bytes):
                self.metrics.upstream_bytes.add(num_bytes)
                content = json.loads(await self.upstream.whole(answer))
                content["choices"][0]["message"]["content"]
        except RequestError as error:
            self.metrics.upstream.add(1, str(error.status))
            raise
        except (ValueError, LookupError, TypeError, RecursionError):
            self.metrics.upstream.add(1, "malformed")
            raise RequestError(502, "the server behind this one gave no usable answer", code="upstream") from None
        self.metrics.upstream.add(1, "200")
        own = {**own_content(request, outcome), "upstream": told | {"bytes": num_bytes}}
        return {**content, "model": request.model, OWN_FIELD: own}

    async def events(self, request: ChatRequest, outcome: Outcome) -> AsyncIterator[bytes]:
        """Its answer in pieces, as they come; before the last event stands where was looked.

        Raises:
            RequestError: before the first event, there is no answer.
        """
        body, told = await self.body(request, outcome)
        async with self.upstream.asked(body) as (answer, num_bytes):
            self.metrics.upstream_bytes.add(num_bytes)
            self.metrics.upstream.add(1, "200")
            own = {**own_content(request, outcome), "upstream": told | {"bytes": num_bytes}}
            head: dict[str, Any] = {}
            try:
                async for line in self.upstream.lines(answer):
                    if not line.startswith(b"data:") or line[5:].strip() == b"[DONE]":
                        continue
                    chunk = json.loads(line[5:])
                    chunk["model"] = request.model
                    head = {key: chunk.get(key) for key in ("id", "object", "created", "model")}
                    yield event(chunk)
            except RequestError as error:
                yield event(error.content())
                return
            except (ValueError, LookupError, TypeError, RecursionError):
                broken = RequestError(502, "the server behind this one broke off in the middle", code="upstream")
                yield event(broken.content())
                return
            yield event({**head, "choices": [], OWN_FIELD: own})
            yield DONE
