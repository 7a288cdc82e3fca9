"""What the routes of a server share, and how a request becomes an outcome."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

import anyio.to_thread

from modules.records import VideoQuestion
from recipes.serving.access import Access
from recipes.serving.chat_request import ChatRequest
from recipes.serving.forwarding import Forwarding
from recipes.serving.jpeg_pictures import PictureForm
from recipes.serving.question_lanes import QuestionLanes
from recipes.serving.question_work import Kind, Outcome, QuestionWork
from recipes.serving.request_body import BodyRoom
from recipes.serving.request_errors import RequestError
from recipes.serving.served_systems import ServedSystems
from recipes.serving.serving_metrics import ServingMetrics
from recipes.serving.serving_settings import ServingSettings
from recipes.serving.video_intake import VideoIntake


class Server:
    """Everything but the socket.

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

    async def outcome(self, request: ChatRequest, kind: Kind, pictures: PictureForm | None) -> Outcome:
        """What comes of a question; where this is cancelled, so is what is done for it.

        Args:
            request: the question.
            kind: whether it is answered.
            pictures: how the chosen frames are wanted; None: they are not.

        Raises:
            RequestError: nothing does.
        """
        within_s, started = self.settings.limits.timeout_s, time.monotonic()
        system = self.systems.named(request.model)
        async with self.intake.file_of(request.video) as path:
            work = self._work(request, kind, pictures, system, str(path), started + within_s)
            await anyio.to_thread.run_sync(self.lanes.submit, work)
            coming = asyncio.wrap_future(work.outcome)
            try:
                await asyncio.wait({coming}, timeout=started + within_s - time.monotonic())
                if not coming.done():
                    raise RequestError(504, f"no answer within {within_s:g} s", code="timeout")
                outcome = coming.result()
            finally:
                if not coming.done():
                    work.gone.set()
                    self.lanes.look()
                    coming.add_done_callback(_heard)
        self._count(outcome, time.monotonic() - started)
        return outcome

    def _work(
        self, request: ChatRequest, kind: Kind, pictures: PictureForm | None, system: str, video: str, deadline: float
    ) -> QuestionWork:
        question = VideoQuestion(
            "serve", "predict", "serve-0", video, 0.0, request.question, request.options, until_s=request.at_s
        )
        return QuestionWork(
            kind=kind,
            system=system,
            question=question,
            video_name=request.video.name,
            num_frames=request.num_frames or min(self.systems.num_frames, self.settings.limits.chosen_frames),
            max_new_tokens=request.max_new_tokens,
            pictures=pictures,
            deadline=deadline,
        )

    def _count(self, outcome: Outcome, seconds: float) -> None:
        self.metrics.seconds.add(seconds)
        if outcome.reply is not None:
            self.metrics.frames.add(outcome.reply.cost.frames_decoded, "decoded")
            self.metrics.frames.add(outcome.reply.cost.frames_shown, "shown")

    def close(self) -> None:
        """Ends the lanes and the decoders, and removes what was sent."""
        self.lanes.close()
        self.systems.close()
        self.intake.shelf.close()


def _heard(coming: asyncio.Future[Outcome]) -> None:
    """Nobody waits for it: its error is nobody's."""
    with suppress(asyncio.CancelledError):
        coming.exception()
