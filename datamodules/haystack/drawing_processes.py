"""Processes that draw, with a progress bar; they end with the process that started them."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import connection, parent_process
from typing import Any, TypeVar

from modules.part_progress import tracked

T = TypeVar("T")


def map_in_processes(
    function: Callable[..., T], *arguments: Iterable[Any], total: int, num_workers: int, title: str, chunksize: int = 1
) -> list[T]:
    """What a function makes of each tuple of arguments, in order.

    Args:
        function, arguments: as for ``map``.
        total: how many there are.
        num_workers: processes.
        title: of the bar.
        chunksize: tuples handed over at once.
    """
    with ProcessPoolExecutor(num_workers, initializer=_belong_to_parent) as workers:
        done = workers.map(function, *arguments, chunksize=chunksize)
        try:
            return list(tracked(done, title, total, "videos"))
        except BaseException:
            workers.shutdown(wait=True, cancel_futures=True)  # the rest is not drawn before the error is told
            raise


def _belong_to_parent() -> None:
    """Leaves Ctrl-C to the parent, which a terminal tells too, and ends with it.

    A killed parent closes no queue that its workers wait at: they would stay for ever.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    parent = parent_process()
    sentinels: Sequence[Any] = [] if parent is None else [parent.sentinel]

    def watch() -> None:
        connection.wait(sentinels)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
