"""Imports of large libraries, without what makes them slow and nobody asked for."""

from __future__ import annotations

import gc
import importlib
import sys
import types
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


def import_torchmetrics() -> None:
    """Imports torchmetrics, which Lightning needs, without scipy's signal processing.

    Torchmetrics imports `scipy.signal`, a tenth of all imports of a run, to give it the name `hamming`, which scipy has
    dropped and one package of sound metrics still asks for. Here it finds that name in an empty module. Whoever imports
    `scipy.signal` afterwards gets the real one, without `hamming`.
    """
    if "scipy.signal" in sys.modules:
        return
    has_the_name = types.ModuleType("scipy.signal")
    has_the_name.hamming = None  # type: ignore[attr-defined]
    sys.modules["scipy.signal"] = has_the_name
    try:
        importlib.import_module("torchmetrics")
    finally:
        del sys.modules["scipy.signal"]
