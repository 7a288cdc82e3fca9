"""Decoding many files side by side: as a stream of pieces in bounded memory, or as futures of whole requests.

The files are opened in processes of their own (`datamodules.video.decode_process`), which can be given up on.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from datamodules.video.decode_process import DecoderError, DecoderKilledError, DecodeWorker
from datamodules.video.decode_worker import ReadRequest
from datamodules.video.video_info import BadVideoError, VideoInfo
from modules.giving_up import LOOK_S, look, may_be_given_up

__all__ = [
    "DecodePool",
    "DecodeWorker",
    "DecoderError",
    "DecoderKilledError",
    "Finished",
    "Piece",
    "ReadRequest",
    "stream_many",
]

T = TypeVar("T")
Frames = tuple[VideoInfo, np.ndarray, np.ndarray]
"""Probe, frame ids (N,) and frames uint8 (N, H, W, 3)."""


class DecodePool:
    """Several processes that decode; requests are taken in the order in which they were made.

    Args:
        num_workers: processes. They start with the first requests.
        timeout_s: a file that gives no sign of life for so long is bad.
        memory_gib: a file that takes one process more is bad.
    """

    def __init__(self, num_workers: int, timeout_s: float = 60.0, memory_gib: float = 4.0) -> None:
        if num_workers < 1:
            raise ValueError(f"{num_workers} decoding workers; at least one is needed")
        self.num_workers, self.timeout_s, self.memory_gib = num_workers, timeout_s, memory_gib
        self._waiting: queue.SimpleQueue[tuple[ReadRequest, Future[Frames]] | None] = queue.SimpleQueue()
        self._workers: dict[DecodeWorker, threading.Thread] = {}
        self._reading: dict[DecodeWorker, str] = {}
        self._given_up: set[DecodeWorker] = set()
        self._num_open = 0
        self._lock = threading.Lock()

    def submit(self, request: ReadRequest) -> Future[Frames]:
        """Hands over a request.

        The future's exception is a `BadVideoError` where the file is to blame, a `DecoderError` where it is not.
        """
        future: Future[Frames] = Future()
        with self._lock:
            self._num_open += 1
            future.add_done_callback(self._close)
            self._grow()
            self._waiting.put((request, future))
        return future

    def give_up(self, path: str) -> None:
        """Ends the processes that read a file, which nobody waits for any more; others take their place."""
        with self._lock:
            for worker in [worker for worker, read in self._reading.items() if read == path]:
                self._workers.pop(worker, None)
                self._given_up.add(worker)
                worker.interrupt()

    def read(self, request: ReadRequest) -> Frames:
        """`submit`, and wait for it."""
        return self.submit(request).result()

    def probe(self, path: str) -> VideoInfo:
        """What a file holds, without decoding more than a frame."""
        return self.read(ReadRequest(path, ()))[0]

    def stop(self) -> None:
        """Ends the processes, whatever they are doing; what was not answered is cancelled or fails.

        May be used again.
        """
        with contextlib.suppress(queue.Empty):
            while (item := self._waiting.get_nowait()) is not None:
                item[1].cancel()
        workers, self._workers = self._workers, {}
        for worker in workers:
            worker.interrupt()
            self._waiting.put(None)
        for thread in workers.values():
            thread.join()

    def _close(self, _: Future[Frames]) -> None:
        with self._lock:
            self._num_open -= 1

    def _serve(self, worker: DecodeWorker) -> None:
        while (item := self._waiting.get()) is not None:
            request, future = item
            if not future.set_running_or_notify_cancel():
                continue
            with self._lock:
                self._reading[worker] = request.path
            try:
                future.set_result(worker.read(request))
            except BaseException as error:  # whoever waits for it has to hear
                future.set_exception(error)
            with self._lock:
                del self._reading[worker]
                if worker in self._given_up:
                    self._given_up.discard(worker)
                    self._grow()
                    break
        worker.stop()

    def _grow(self) -> None:
        """One worker more, where there are fewer than requests; the lock is held."""
        if len(self._workers) < min(self.num_workers, self._num_open):
            worker = DecodeWorker(self.timeout_s, self.memory_gib)
            worker.start()
            self._workers[worker] = threading.Thread(target=self._serve, args=(worker,), daemon=True)
            self._workers[worker].start()


@dataclass(frozen=True)
class Piece:
    """Some frames of a file, the next after those before."""

    request: ReadRequest
    info: VideoInfo
    frame_ids: np.ndarray
    """int64 (T,), of the whole request."""
    frames: np.ndarray
    """uint8 (n, H, W, 3)."""


@dataclass(frozen=True)
class Finished:
    """A file is through, or was bad."""

    request: ReadRequest
    error: BadVideoError | None


def stream_many(
    requests: Iterable[ReadRequest], num_workers: int, timeout_s: float = 60.0, pieces_ahead: int = 4
) -> Generator[Piece | Finished, None, None]:
    """Decodes many files side by side, each once, and hands over pieces as they come.

    Pieces of one file come in order, those of several mixed. At most ``num_workers * pieces_ahead`` pieces wait, so a
    nine-hour video takes no more memory than a short one.

    Args:
        requests: taken as workers become free, in their threads, by one at a time; what it raises is raised here.
        num_workers: processes; each starts with its first request.
        timeout_s: a file that gives no sign of life for so long is bad.
        pieces_ahead: for each worker.

    Raises:
        DecoderError: a process could not start, or was killed twice at one file; that is no file's fault, and the rest
            is not decoded.
        GivenUpError: nobody waits for it any more (`modules.giving_up`).
    """
    todo, taking = iter(requests), threading.Lock()
    ready: queue.Queue[Piece | Finished | BaseException | None] = queue.Queue(num_workers * pieces_ahead)
    stopped = threading.Event()

    def take() -> ReadRequest | None:
        with taking:
            return None if stopped.is_set() else next(todo, None)

    def put(message: Piece | Finished | BaseException | None) -> None:
        while not stopped.is_set():
            with contextlib.suppress(queue.Full):
                ready.put(message, timeout=0.2)
                return

    def serve(worker: DecodeWorker) -> None:
        try:
            while (request := take()) is not None:
                put(_decode(worker, request, put))
            put(None)
        except BaseException as error:  # whoever waits has to hear
            put(error)
        worker.stop()

    workers = [DecodeWorker(timeout_s) for _ in range(num_workers)]
    threads = [threading.Thread(target=serve, args=(worker,), daemon=True) for worker in workers]
    for thread in threads:
        thread.start()
    try:
        num_serving = num_workers
        while num_serving:
            message = _next_of(ready)
            if isinstance(message, BaseException):
                raise message
            if message is None:
                num_serving -= 1
            else:
                yield message
    finally:
        stopped.set()
        for worker in workers:
            worker.interrupt()
        for thread in threads:
            thread.join()


def _next_of(ready: queue.Queue[T]) -> T:
    """The next message, unless nobody waits for it any more."""
    while may_be_given_up():
        look()
        with contextlib.suppress(queue.Empty):
            return ready.get(timeout=LOOK_S)
    return ready.get()


def _decode(worker: DecodeWorker, request: ReadRequest, put: Callable[[Piece], None]) -> Finished:
    """Hands over the pieces of one file."""
    try:
        for info, frame_ids, frames in worker.run(request):
            if len(frames):
                put(Piece(request, info, frame_ids, frames))
    except BadVideoError as error:
        return Finished(request, error)
    return Finished(request, None)
