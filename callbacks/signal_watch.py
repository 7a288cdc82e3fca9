"""Counts SIGTERM and Ctrl-C as they come, whatever the main thread is doing.

Python calls a handler once the main thread is back from the library that it is in, and once for all signals that have
come until then: a second Ctrl-C during a long computation would be lost. A thread reads what the interpreter itself
writes down of each signal.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable

WATCHED = (signal.SIGTERM, signal.SIGINT)


class SignalWatch:
    """Calls a function at the second signal, from a thread of its own.

    Args:
        at_second: is given the signal's number.
    """

    def __init__(self, at_second: Callable[[int], None]) -> None:
        self._at_second = at_second
        self._written, self._read = socket.socketpair()
        self._former_fd = -1

    def start(self) -> None:
        """Begins to count; called from the main thread."""
        self._written.setblocking(False)
        self._former_fd = signal.set_wakeup_fd(self._written.fileno(), warn_on_full_buffer=False)
        # a forked process would write down its own signals here
        os.register_at_fork(after_in_child=self._leave)
        threading.Thread(target=self._count, name="signal-watch", daemon=True).start()

    def stop(self) -> None:
        """Counts no more."""
        signal.set_wakeup_fd(self._former_fd)
        self._written.close()  # which ends the thread

    def _leave(self) -> None:
        if self._written.fileno() >= 0:
            signal.set_wakeup_fd(-1)

    def _count(self) -> None:
        number = 0
        while received := self._read.recv(64):
            for signum in received:
                number += signum in WATCHED
                if signum in WATCHED and number > 1:
                    self._at_second(signum)
        self._read.close()
