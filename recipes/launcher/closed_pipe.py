"""A command whose reader has gone, as in ``lightning ls | head -3``, ends without a word, as other commands do."""

from __future__ import annotations

import os
import select
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

STATUS = 128 + signal.SIGPIPE
"""What a shell says of a command that a closed pipe has ended."""
_STDOUT = 1


@contextmanager
def quiet_if_closed() -> Iterator[None]:
    """What is printed in here may find that nobody reads it; then the process ends with `STATUS`.

    A mistake stays a mistake, and so does a closed connection to something else.
    """
    try:
        yield
    except SystemExit as end:  # of a parser that has printed its help, say
        if end.code or _flushed():
            raise
    except BrokenPipeError:
        if not _output_is_closed():
            raise
    else:
        if _flushed():
            return
    os.dup2(os.open(os.devnull, os.O_WRONLY), _STDOUT)  # what is left to print, so that Python does not try again
    sys.exit(STATUS)


def _flushed() -> bool:
    """Whether everything that was printed has found its way."""
    try:
        if sys.stdout is not None:  # as it is where the command was started without one
            sys.stdout.flush()
    except BrokenPipeError:
        return False
    return True


def _output_is_closed() -> bool:
    poll = select.poll()
    poll.register(_STDOUT, 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))
