"""The near side of decoding: a process that decodes one file at a time, and is given up on when it falls silent."""

from __future__ import annotations

import json
import logging
import math
import signal
import socket
import struct
import subprocess
import sys
import weakref
from collections.abc import Iterator
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from datamodules.video.decode_worker import Done, Failed, FramesFollow, Opened, ReadRequest
from datamodules.video.video_info import BadVideoError, VideoInfo

_log = logging.getLogger(__name__)
_START_S = 120.0
"""For a worker's imports, on a machine whose cores are busy."""
_CRASHES = (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL)
"""Signals by which a process ends itself; others are sent by somebody, as the out-of-memory killer does."""
_SENT = (signal.SIGKILL, signal.SIGTERM)
_PROGRAM = """
import json, sys
arguments, sys.path[:] = json.loads(sys.argv[1])
from {module} import serve
serve(*arguments)
"""


class DecoderError(RuntimeError):
    """A decoding process could not do its work, for a reason that is not the file's."""


class DecoderKilledError(DecoderError):
    """Somebody else ended a decoding process; the next may have more luck."""


class DecodeWorker:
    """A process that decodes; killed and replaced when a file keeps it ``timeout_s`` without a sign of life.

    Not for several threads at once.

    Args:
        timeout_s: a file that gives no sign of life for so long is bad.
        memory_gib: a file that takes more is bad.
    """

    module = "datamodules.video.decode_worker"
    """Whose ``serve`` is the process's program."""

    def __init__(self, timeout_s: float = 60.0, memory_gib: float = 4.0) -> None:
        self.timeout_s, self.memory_gib = timeout_s, memory_gib
        self._process: subprocess.Popen | None = None
        self._connection: Connection | None = None
        self._started = self._interrupted = False

    def start(self) -> None:
        """Starts the process, unless it runs; does not wait for it."""
        if self._process is not None and self._process.poll() is None:
            return
        self.stop()
        ours, theirs = socket.socketpair()
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):  # also within a message
            seconds, rest = divmod(self.timeout_s, 1.0)
            ours.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", int(seconds), int(rest * 1e6)))
        arguments = theirs.fileno(), min(1.0, self.timeout_s / 5), self.memory_gib
        # -P: or the working folder, which may be a stranger's, would come before the standard library
        program = _PROGRAM.format(module=self.module)
        command = [sys.executable, "-P", "-c", program, json.dumps([arguments, sys.path])]
        # a terminal's Ctrl-C reaches it too, from its first moment on; it is left to this process, whose end ends it
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        try:
            with theirs:
                self._process = subprocess.Popen(command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        self._connection = Connection(ours.detach())
        self._end = weakref.finalize(self, _end, self._process, self._connection)

    def stop(self) -> None:
        """Ends the process, whatever it is doing."""
        if self._process is not None:
            self._end()
        self._process, self._connection, self._started = None, None, False

    def interrupt(self) -> None:
        """Ends the process while another thread waits for it, and lets none start again."""
        self._interrupted = True
        if (process := self._process) is not None:
            process.kill()

    def probe(self, path: str) -> VideoInfo:
        """What a file holds, without decoding more than a frame."""
        return self.read(ReadRequest(path, ()))[0]

    def read(self, request: ReadRequest) -> tuple[VideoInfo, np.ndarray, np.ndarray]:
        """Probe, frame ids (N,) and frames uint8 (N, H, W, 3) of a request.

        Raises:
            BadVideoError: the file is bad, gave no sign of life for too long, or all its frames together take more than
                ``memory_gib``.
            DecoderError: the process failed for another reason.
        """
        answer = self.run(request)
        info, frame_ids, frames = next(answer)
        found = 0
        for _, _, piece in answer:
            if not found:
                frames = self._room_for(request.path, (len(frame_ids), *piece.shape[1:]))
            frames[found : found + len(piece)] = piece
            found += len(piece)
        return info, frame_ids, frames

    def _room_for(self, path: str, shape: tuple[int, ...]) -> np.ndarray:
        if (size := math.prod(shape)) > self.memory_gib * 2**30:
            reason = f"{shape[0]} frames of {shape[2]} x {shape[1]} pixels take {size / 2**30:.1f} GiB together"
            raise BadVideoError(path, f"{reason}, more than {self.memory_gib:g}; short_side_px makes them smaller")
        return np.empty(shape, np.uint8)

    def run(self, request: ReadRequest) -> Iterator[tuple[VideoInfo, np.ndarray, np.ndarray]]:
        """Probe, all frame ids (N,) and the next frames uint8 (n, H, W, 3), of which the first time there are none.

        A process that is killed is replaced, once, and goes on behind the frames that have come.

        Raises:
            BadVideoError: the file is bad, or gave no sign of life for too long.
            DecoderError: the process failed for another reason.
        """
        found = None
        try:
            for info, frame_ids, frames in self._answer(request):
                yield info, frame_ids, frames
                found = (found or 0) + len(frames)
        except DecoderKilledError as error:
            _log.warning("%s; another process reads it once more", error)
        else:
            return
        for info, frame_ids, frames in self._answer(request):
            if found is None or len(frames) > found:
                yield info, frame_ids, frames[found or 0 :]
            found = None if found is None else max(0, found - len(frames))

    def _answer(self, request: ReadRequest) -> Iterator[tuple[VideoInfo, np.ndarray, np.ndarray]]:
        """As `run`, by one process."""
        through = False
        try:
            self._submit(request)
            opened: Opened | None = None
            while not isinstance(message := self._next_message(request.path, self.timeout_s), Done):
                if isinstance(message, BadVideoError):
                    through = True
                    raise message
                if isinstance(message, Failed):
                    raise DecoderError(f"decoding {request.path} failed: {message.reason}")
                if isinstance(message, Opened):
                    opened = message
                    yield opened.info, opened.frame_ids, np.empty((0, 0, 0, 3), np.uint8)
                if isinstance(message, FramesFollow):
                    assert opened is not None
                    yield opened.info, opened.frame_ids, self._receive_frames(request.path, message.shape)
            through = True
        finally:
            if not through:
                self.stop()  # what it may still say belongs to nobody

    def _submit(self, request: ReadRequest) -> None:
        if self._interrupted:
            raise DecoderError(f"decoding was stopped before {request.path} was read")
        self.start()
        assert self._connection is not None
        if not self._started:
            self._next_message(request.path, max(_START_S, self.timeout_s))
            self._started = True
        try:
            self._connection.send(request)
        except OSError:
            raise self._death(request.path) from None

    def _next_message(self, path: str, timeout_s: float) -> Any:
        assert self._connection is not None
        try:
            if self._connection.poll(timeout_s):
                return self._connection.recv()
        except BlockingIOError:
            pass  # silent in the middle of a message
        except (EOFError, OSError):
            raise self._death(path) from None
        raise self._silence(path, timeout_s)

    def _receive_frames(self, path: str, shape: tuple[int, ...]) -> np.ndarray:
        frames = np.empty(shape, np.uint8)
        assert self._connection is not None
        try:
            self._connection.recv_bytes_into(frames.data.cast("B"))
        except BlockingIOError:
            raise self._silence(path, self.timeout_s) from None
        except (EOFError, OSError):
            raise self._death(path) from None
        return frames

    def _silence(self, path: str, timeout_s: float) -> Exception:
        if not self._started:
            return DecoderError(f"a decoding process did not start within {timeout_s:g} s; is the machine overloaded?")
        return BadVideoError(path, f"its decoder gave no sign of life for {timeout_s:g} s")

    def _death(self, path: str) -> Exception:
        """Why the process is gone."""
        assert self._process is not None
        if self._interrupted:
            return DecoderError(f"decoding was stopped while {path} was read")
        try:
            code = self._process.wait(5.0)
        except subprocess.TimeoutExpired:
            return DecoderError(f"the decoding process of {path} closed its connection and goes on")
        if not self._started and -code not in _SENT:
            return DecoderError(f"a decoding process could not start (exit code {code}); it says why on stderr, above")
        if code >= 0:
            return DecoderError(f"the decoding process ended while it read {path} (exit code {code})")
        name = signal.Signals(-code).name
        if -code in _CRASHES:
            return BadVideoError(path, f"the decoder crashed on it ({name})")
        return DecoderKilledError(
            f"the decoding process was killed by {name} while it read {path}; if that was for want of memory, "
            "use fewer workers or smaller frames (short_side_px)"
        )


def _end(process: subprocess.Popen, connection: Connection) -> None:
    process.kill()
    process.wait()
    connection.close()
