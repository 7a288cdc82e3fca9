"""One progress bar of what all ranks do, on the first of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import TracebackType
from typing import Self

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from modules.distributed.ranks import SharedWork

_HIDDEN = ContextVar("progress is hidden", default=False)


@contextmanager
def hidden_progress() -> Iterator[None]:
    """Inside, no bar is shown: of a single video that somebody asks about, or in a notebook."""
    token = _HIDDEN.set(True)
    try:
        yield
    finally:
        _HIDDEN.reset(token)


class SharedProgress:
    """Videos done and frames a second, over all ranks.

    Args:
        title: of the bar.
        work: whose items are videos.
    """

    def __init__(self, title: str, work: SharedWork) -> None:
        columns = (
            TextColumn("[progress.description]{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
        )
        self._work = work
        self._bar = Progress(*columns, disable=work.rank > 0 or _HIDDEN.get())
        self._task = self._bar.add_task(title, total=work.num_items, rate="")

    def count_video(self) -> None:
        """One more video is done."""
        self._work.add("videos", 1)
        self.show()

    def count_frames(self, number: int) -> None:
        """So many more frames are done."""
        self._work.add("frames", number)
        self.show()

    def show(self) -> None:
        """Brings the bar up to date with all ranks."""
        if self._work.rank > 0:
            return
        videos, frames = self._work.add("videos", 0), self._work.add("frames", 0)
        elapsed = self._bar.tasks[self._task].elapsed or 1.0
        rate = f"{frames / elapsed:.0f} frames/s" if frames else ""
        self._bar.update(self._task, completed=videos, rate=rate)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._bar.stop()
