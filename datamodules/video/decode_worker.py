"""The far side of decoding: the process that opens files, so that what breaks on a file does not break the run.

It is a program of its own (`python -c ... serve(...)`), not a copy of the one that asks: a script without a
``__main__`` guard can use it, and it imports neither torch nor lightning (unless torchcodec is asked for).
"""

from __future__ import annotations

import os
import resource
import signal
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from typing import Literal

import numpy as np

from datamodules.video.video_info import BadVideoError, VideoInfo, candidate_grid, open_frames, probe


@dataclass(frozen=True)
class ReadRequest:
    """What a worker is asked to do. ``frame_ids`` None: the candidate grid; empty: only the probe."""

    path: str
    frame_ids: tuple[int, ...] | None = None
    fps: float = 1.0
    max_candidates: int | None = None
    short_side_px: int | None = None
    info: VideoInfo | None = None
    """The probe where it was done before: the file's packets are not read again."""
    decoder: Literal["auto", "pyav", "torchcodec"] = "auto"
    """Which library decodes; auto is PyAV by packet table, which no other was seen to beat."""


@dataclass(frozen=True)
class Alive:
    """Nothing yet, but the file is being read."""


@dataclass(frozen=True)
class Opened:
    """The file was probed, and these frames will come."""

    info: VideoInfo
    frame_ids: np.ndarray


@dataclass(frozen=True)
class FramesFollow:
    """The next message is the bytes of a uint8 array of this shape."""

    shape: tuple[int, ...]


@dataclass(frozen=True)
class Done:
    """All frames were sent; or, first of all, the worker has started."""


@dataclass(frozen=True)
class Failed:
    """Something other than the file went wrong."""

    reason: str


def serve(descriptor: int, alive_s: float, memory_gib: float) -> None:
    """A worker's life: `Done` when it has started; then for each request `Opened`, frames and `Done`, or an error.

    Args:
        descriptor: of the socket to whoever asks.
        alive_s: how often, at the most, it says that it is on its way to the next frame.
        memory_gib: most it may take; a file that needs more is bad, and the machine is spared.
    """
    most = int(memory_gib * 2**30)
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the one who asks, who then ends this process
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    connection = Connection(descriptor)
    try:
        connection.send(Done())
        while (request := connection.recv()) is not None:
            _answer(connection, request, alive_s)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        pass  # whoever asked is gone


def _end_with(parent: int) -> None:
    """Ends this process, whatever a file makes it do, when the one who asks was killed."""
    while os.getppid() == parent:
        time.sleep(2.0)
    os._exit(1)


def _answer(connection: Connection, request: ReadRequest, alive_s: float) -> None:
    try:
        _read(connection, request, _every(alive_s, lambda: connection.send(Alive())))
    except (BrokenPipeError, ConnectionResetError):
        raise
    except BadVideoError as error:
        connection.send(error)
    except MemoryError:
        connection.send(BadVideoError(request.path, "decoding it takes more memory than a decoding process may use"))
    except (ValueError, ArithmeticError) as error:  # absurd values in the file
        connection.send(BadVideoError(request.path, repr(error)))
    except Exception:  # a mistake of ours, or a broken installation: said, and not blamed on the file
        connection.send(Failed(traceback.format_exc(limit=-3)))


def _read(connection: Connection, request: ReadRequest, alive: Callable[[], None]) -> None:
    info = request.info or probe(request.path, alive)
    if request.frame_ids is None:
        frame_ids = candidate_grid(info, request.fps, request.max_candidates)
    else:
        frame_ids = np.array(request.frame_ids, dtype=np.int64)
    decoder, pieces = open_frames(info, frame_ids, request.short_side_px, request.decoder, alive)
    connection.send(Opened(replace(info, path=request.path, decoder=decoder), frame_ids))
    for piece in pieces:
        connection.send(FramesFollow(piece.shape))
        connection.send_bytes(piece.data.cast("B"))
    connection.send(Done())


def _every(seconds: float, do: Callable[[], None]) -> Callable[[], None]:
    """A function that may be called often and does something at most once in a while."""
    last = time.monotonic()

    def called() -> None:
        nonlocal last
        if time.monotonic() - last > seconds:
            do()
            last = time.monotonic()

    return called
