"""A rank that Lightning has started beside its own process: it begins where that one did, and ends with it."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

STARTED_IN_VARIABLE = "KAIROS_STARTED_IN"
"""Working folder of the command, where the run has gone to another one (`recipes.launcher.begun_run`)."""
_PR_SET_PDEATHSIG = 1


def is_started_rank() -> bool:
    """Whether Lightning has started this process as a rank beside its own."""
    return os.environ.get("LOCAL_RANK", "0") != "0"


def end_with_parent() -> None:
    """Has Linux kill this process when its parent ends, where Lightning has started it as a rank beside its own.

    A rank whose first one was killed would wait for it: up to half an hour where they were only about to meet.
    """
    if sys.platform == "linux" and is_started_rank():
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def begin_with_parent() -> None:
    """Has such a rank read the same words in the folder in which they were typed."""
    if is_started_rank() and (folder := os.environ.get(STARTED_IN_VARIABLE)):
        os.chdir(folder)
