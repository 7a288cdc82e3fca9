"""Decoding in processes of their own, which can be given up on: one file for whoever asks, or many side by side.

Imports neither torch nor lightning, so that a worker starts fast.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from datamodules.video import BadVideoError, VideoInfo, candidate_grid, open_frames, probe


@dataclass(frozen=True)
class ReadRequest:
    """What a worker is asked to do. ``frame_ids`` None: the candidate grid."""

    path: str
    frame_ids: tuple[int, ...] | None = None
    fps: float = 1.0
    max_candidates: int | None = None
    short_side_px: int | None = None


def _serve(connection: Connection) -> None:
    """A worker's life: (info, frame_ids), then pieces of frames, then None; or an error."""
    while True:
        try:
            request = connection.recv()
        except EOFError:  # whoever asked is gone
            return
        if request is None:
            return
        try:
            info = probe(request.path)
            if request.frame_ids is None:
                frame_ids = candidate_grid(info, request.fps, request.max_candidates)
            else:
                frame_ids = np.array(request.frame_ids)
            decoder, pieces = open_frames(info, frame_ids, request.short_side_px) if len(frame_ids) else ("", iter(()))
            connection.send((replace(info, decoder=decoder), frame_ids))
            for piece in pieces:
                connection.send(piece)
            connection.send(None)
        except Exception as error:  # whatever a broken file provokes must reach the other side, not kill the worker
            connection.send(error if isinstance(error, BadVideoError) else BadVideoError(request.path, repr(error)))


class DecodeWorker:
    """A process that decodes; killed and replaced when a file keeps it ``timeout_s`` without a sign of life."""

    def __init__(self, timeout_s: float = 60.0) -> None:
        self.timeout_s = timeout_s
        self._process: multiprocessing.process.BaseProcess | None = None
        self._connection: Connection | None = None

    def start(self) -> None:
        """Starts the process, unless it runs."""
        if self._process is None or not self._process.is_alive():
            context = multiprocessing.get_context("spawn")
            self._connection, theirs = context.Pipe()
            self._process = context.Process(target=_serve, args=(theirs,), daemon=True, name="decode")
            self._process.start()
            theirs.close()

    def submit(self, request: ReadRequest) -> None:
        """Hands over a request; `receive` gets the result. One at a time."""
        self.start()
        assert self._connection is not None
        self._connection.send(request)

    def receive(self, path: str) -> tuple[VideoInfo, np.ndarray, np.ndarray]:
        """Probe, frame ids (N,) and frames uint8 (N, H, W, 3) of the submitted request.

        Raises:
            BadVideoError: the file is bad, or took too long.
        """
        info, frame_ids = self.next_message(path)
        pieces = []
        while (piece := self.next_message(path)) is not None:
            pieces.append(piece)
        return info, frame_ids, np.concatenate(pieces)

    def probe(self, path: str) -> VideoInfo:
        """What a file holds, without decoding more than a frame."""
        self.submit(ReadRequest(path, ()))
        info, _ = self.next_message(path)
        self.next_message(path)
        return info

    def read(self, request: ReadRequest) -> tuple[VideoInfo, np.ndarray, np.ndarray]:
        """`submit` and `receive`."""
        self.submit(request)
        return self.receive(request.path)

    def next_message(self, path: str) -> Any:
        """The next thing a worker says: (info, frame ids) first, then pieces (n, H, W, 3), then None.

        Raises:
            BadVideoError: the file is bad, took too long, or crashed the decoder.
        """
        assert self._connection is not None
        if not self._connection.poll(self.timeout_s):
            self.stop()
            raise BadVideoError(path, f"decoding gave no frame for {self.timeout_s:g} s")
        try:
            message = self._connection.recv()
        except (EOFError, ConnectionResetError) as error:
            self.stop()
            raise BadVideoError(path, "the decoder crashed") from error
        if isinstance(message, BadVideoError):
            raise message
        return message

    def stop(self) -> None:
        """Ends the process, whatever it is doing."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
        self._process = self._connection = None


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
    requests: list[ReadRequest], num_workers: int, timeout_s: float = 60.0, pieces_ahead: int = 4
) -> Iterator[Piece | Finished]:
    """Decodes many files side by side, each once, and hands over pieces as they come.

    Pieces of one file come in order, those of several mixed. At most ``num_workers * pieces_ahead`` pieces wait, so a
    nine-hour video takes no more memory than a short one.
    """
    todo: queue.SimpleQueue[ReadRequest] = queue.SimpleQueue()
    for request in requests:
        todo.put(request)
    num_workers = min(num_workers, len(requests))
    ready: queue.Queue[Piece | Finished] = queue.Queue(num_workers * pieces_ahead)
    stopped = threading.Event()

    def put(message: Piece | Finished) -> None:
        while not stopped.is_set():
            with contextlib.suppress(queue.Full):
                ready.put(message, timeout=0.2)
                return

    def serve(worker: DecodeWorker) -> None:
        while not stopped.is_set():
            try:
                request = todo.get_nowait()
            except queue.Empty:
                break
            error = None
            try:
                worker.submit(request)
                info, frame_ids = worker.next_message(request.path)
                while not stopped.is_set() and (frames := worker.next_message(request.path)) is not None:
                    put(Piece(request, info, frame_ids, frames))
            except BadVideoError as bad:
                error = bad
            put(Finished(request, error))
        worker.stop()

    workers = [DecodeWorker(timeout_s) for _ in range(num_workers)]
    for worker in workers:
        worker.start()  # here, because a process started from a thread has no parent to end with
    threads = [threading.Thread(target=serve, args=(worker,), daemon=True) for worker in workers]
    for thread in threads:
        thread.start()
    try:
        left = len(requests)
        while left:
            message = ready.get()
            left -= isinstance(message, Finished)
            yield message
    finally:
        stopped.set()
        for thread in threads:
            thread.join(timeout=1.0)
        for worker in workers:
            worker.stop()
