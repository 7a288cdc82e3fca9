"""Imports of large libraries, without searching their objects for garbage."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def library_imports() -> Iterator[None]:
    """Imports happen in here; what they make is left out of garbage collection for good.

    Torch, Lightning and transformers make half a million objects that live until the process ends. Going through them
    again and again took 1.2 s of the processor's time while they were imported, and as long again when it ended.
    """
    if "lightning" in sys.modules:  # a process that does more than one command
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.freeze()
