"""Which feature stores are in use: a process that uses one holds a shared lock, and who cleans up needs it alone.

The system gives the lock back when the process ends, however it ends.
"""

from __future__ import annotations

import fcntl
import functools
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from datamodules.video.sighting import NOTES

_NAME = "in_use.lock"
_log = logging.getLogger(__name__)


@functools.cache
def hold(root: Path) -> int | None:
    """Holds a folder, which is made, until this process ends; waits for a cleaning to end, which takes seconds.

    Returns:
        The open file; None where the folder cannot be written to or its file system has no locks. Then nothing may
        clean it up either.
    """
    try:
        file = _open(root, create=True)
        fcntl.flock(file, fcntl.LOCK_SH)
    except OSError as error:
        _log.debug("%s is used without a lock: %s", root, error)
        return None
    return file


@contextmanager
def alone(root: Path) -> Iterator[str]:
    """Inside, no process begins to use a folder.

    Yields:
        Why it cannot be had alone; empty where it is.
    """
    try:
        file = _open(root, create=os.access(root, os.W_OK))
    except OSError as error:
        yield f"it cannot be locked ({error.strerror})"
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        reason = ""
    except BlockingIOError:
        reason = "a run is using it"
    except OSError as error:
        reason = f"its file system has no locks ({error.strerror})"
    try:
        yield reason
    finally:
        os.close(file)


def _open(root: Path, create: bool) -> int:
    if create:
        (root / NOTES).mkdir(parents=True, exist_ok=True)
    return os.open(root / NOTES / _NAME, os.O_RDWR | (os.O_CREAT if create else 0), 0o666)
