"""Two lanes for questions: videos are prepared side by side, then questions on one video are answered in one batch.

A video that nobody has asked about before is decoded and encoded in the first lane, while questions on videos that are
known pass it by. The models compute in one thread, the second lane: what comes in while it is busy waits, and whatever
then waits on the same video is answered together. Both lanes drop what nobody waits for any more, also while a file is
being decoded (`modules.giving_up`).
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress

from datamodules.video.decode_process import DecoderError
from datamodules.video.progress import hidden_progress
from datamodules.video.video_file import BadVideoError
from modules.giving_up import GivenUpError, given_up_when
from recipes.serving.question_work import Outcome, QuestionWork
from recipes.serving.request_errors import RequestError, bad_request, unreadable_video
from recipes.serving.served_systems import ServedSystems
from recipes.serving.serving_metrics import ServingMetrics
from recipes.serving.serving_settings import ServingLimits

_log = logging.getLogger(__name__)
_KNOWN = 4096


class QuestionLanes:
    """Takes questions while there is room, and sees to it that each has its outcome.

    Args:
        systems: that answer.
        limits: how many wait, and how many go together.
        metrics: are told what happens.
    """

    def __init__(self, systems: ServedSystems, limits: ServingLimits, metrics: ServingMetrics) -> None:
        self.systems, self.limits, self.metrics = systems, limits, metrics
        self._changed = threading.Condition()
        self._arrived: OrderedDict[str, list[QuestionWork]] = OrderedDict()
        self._preparing: dict[str, list[QuestionWork]] = {}
        self._ready: list[QuestionWork] = []
        self._known: OrderedDict[str, tuple[int, int]] = OrderedDict()
        self._num_open, self._stopping = 0, False
        self._seconds_each = 1.0
        lanes: list[Callable[[], None]] = [self._prepare_videos] * limits.preparing
        self._threads = [threading.Thread(target=lane, daemon=True) for lane in (*lanes, self._answer_questions)]
        for thread in self._threads:
            thread.start()

    @property
    def num_open(self) -> int:
        """Questions that wait or are being answered."""
        return self._num_open

    def submit(self, work: QuestionWork) -> None:
        """Takes a question.

        Raises:
            RequestError: there is no room for it, or the server is stopping.
        """
        video = work.question.video
        known = self._is_known(video)
        with self._changed:
            if self._stopping:
                raise RequestError(503, "the server is stopping", code="stopping", retry_after_s=5.0)
            if self._num_open >= self.limits.queue:
                wait_s = self._seconds_each * self._num_open
                raise RequestError(
                    429,
                    f"{self._num_open} questions are waiting; come again in {max(1, round(wait_s))} s",
                    code="queue_full",
                    retry_after_s=wait_s,
                )
            self._num_open += 1
            work.outcome.add_done_callback(self._close)
            if video in self._preparing:
                self._preparing[video].append(work)
            elif known:
                self._ready.append(work)
            else:
                self._arrived.setdefault(video, []).append(work)
            self._changed.notify_all()

    def look(self) -> None:
        """Somebody has left: what waits in a lane may be dropped."""
        with self._changed:
            for works in (*self._arrived.values(), self._ready):
                for work in [work for work in works if work.abandoned]:
                    works.remove(work)
                    self._fail(work, GivenUpError("nobody waits for it"))
            for video in [video for video, works in self._arrived.items() if not works]:
                del self._arrived[video]

    def close(self) -> None:
        """Ends the lanes; what is still in them fails."""
        with self._changed:
            self._stopping = True
            left = [work for works in (*self._arrived.values(), *self._preparing.values()) for work in works]
            for work in (*left, *self._ready):
                work.gone.set()
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(10.0)
        self.look()

    def _close(self, _: object) -> None:
        with self._changed:
            self._num_open -= 1

    def _is_known(self, video: str) -> bool:
        """Whether the file is as it was when it was prepared."""
        with suppress(OSError):
            status = os.stat(video)
            return self._known.get(video) == (status.st_size, status.st_mtime_ns)
        return False

    def _remember(self, video: str) -> None:
        with suppress(OSError):
            status = os.stat(video)
            self._known[video] = (status.st_size, status.st_mtime_ns)
            if len(self._known) > _KNOWN:
                self._known.popitem(last=False)

    # ---- the first lane ----

    def _prepare_videos(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._arrived or self._stopping)
                if self._stopping:
                    return
                video, works = self._arrived.popitem(last=False)
                self._preparing[video] = works
            for work in works:
                work.lap("waiting")
            error = self._prepared(video, works)
            with self._changed:
                del self._preparing[video]
                for work in works:
                    work.lap("preparing")
                    if error is None:
                        self._ready.append(work)
                    elif isinstance(error, GivenUpError) and not work.abandoned:  # it came when all others had gone
                        self._arrived.setdefault(video, []).append(work)
                    else:
                        self._fail(work, error)
                if error is None:
                    self._remember(video)
                self._changed.notify_all()

    def _prepared(self, video: str, works: list[QuestionWork]) -> Exception | None:
        """Decodes and encodes a video; what went wrong, if something did."""
        try:
            with hidden_progress(), given_up_when(lambda: all(work.abandoned for work in works)):
                self.systems.prepare(video, self.limits)
        except Exception as error:  # whoever waits has to hear
            return error
        self.metrics.videos_prepared.add()
        return None

    # ---- the second lane ----

    def _answer_questions(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._ready or self._stopping)
                if self._stopping:
                    return
                first = self._ready[0]
                together = self.systems.most_together(first.system, self.limits)
                works = [work for work in self._ready if work.batch_key == first.batch_key][:together]
                for work in works:
                    self._ready.remove(work)
            present = [work for work in works if not work.abandoned]
            for work in works:
                work.lap("waiting")
                if work not in present:
                    self._fail(work, GivenUpError("nobody waits for it"))
            if present:
                self._answer(present)

    def _answer(self, works: list[QuestionWork]) -> None:
        started = time.monotonic()
        try:
            with hidden_progress(), given_up_when(lambda: all(work.abandoned for work in works)):
                outcomes = self.systems.outcomes(works)
        except Exception as error:  # whoever waits has to hear
            for work in works:
                self._fail(work, error)
            return
        seconds = time.monotonic() - started
        self._seconds_each = 0.8 * self._seconds_each + 0.2 * seconds / len(works)
        self.metrics.batches.add()
        self.metrics.questions_answered.add(len(works))
        for work, outcome in zip(works, outcomes, strict=True):
            _settle(work, outcome)

    def _fail(self, work: QuestionWork, error: Exception) -> None:
        if work.outcome.done():
            return
        with suppress(Exception):  # it may have been cancelled meanwhile
            work.outcome.set_exception(_as_told(work, error))
        if isinstance(error, GivenUpError):
            self.metrics.given_up.add()


def _settle(work: QuestionWork, outcome: Outcome) -> None:
    with suppress(Exception):  # it may have been cancelled meanwhile
        work.outcome.set_result(outcome)


def _as_told(work: QuestionWork, error: Exception) -> RequestError:
    """An error as the client hears of it: without places on this machine."""
    if isinstance(error, RequestError):
        return error
    if isinstance(error, BadVideoError):
        return unreadable_video(work.video_name, error.reason)
    if isinstance(error, GivenUpError):
        if time.monotonic() > work.deadline:
            return RequestError(504, "the question was not answered in time", code="timeout")
        return RequestError(499, "the client has gone", code="gone")
    if isinstance(error, DecoderError):
        _log.error("decoding failed: %s", error)
        return RequestError(503, "the video could not be decoded just now", code="decoder", retry_after_s=2.0)
    if isinstance(error, ValueError):
        return bad_request(str(error).replace(work.question.video, work.video_name)[:500])
    _log.error("a question could not be answered", exc_info=error)
    return RequestError(500, "the question could not be answered; the server's log says why", code="internal_error")
