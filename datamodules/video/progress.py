"""What all ranks have done of a pass over videos, shown by the first of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import TracebackType
from typing import Self

from modules.distributed.ranks import SharedWork
from modules.part_progress import PartProgress

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
        title: what is done.
        work: whose items are videos.
    """

    def __init__(self, title: str, work: SharedWork) -> None:
        self._work = work
        self._part = PartProgress(title, work.num_items, "videos", quiet=work.rank > 0 or _HIDDEN.get())

    def count_video(self) -> None:
        """One more video is done."""
        self._work.add("videos", 1)
        self.show()

    def count_frames(self, number: int) -> None:
        """So many more frames are done."""
        self._work.add("frames", number)
        self.show()

    def show(self) -> None:
        """Brings the count up to date with all ranks."""
        if self._work.rank > 0:
            return
        videos, frames = self._work.add("videos", 0), self._work.add("frames", 0)
        rate = frames / max(self._part.elapsed_s, 1e-3)
        self._part.update(videos, f"{rate:.0f} frames/s" if frames else "")

    def __enter__(self) -> Self:
        self._part.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if error is None:
            self.show()
        self._part.__exit__(kind, error, at)
