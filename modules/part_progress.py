"""How far a part of a run has come: a bar in a terminal, and in a log file a line now and then.

Every part that may take more than two seconds has one. In a log file no line overwrites another, and the longer a part
takes, the fewer they are: after 2, 4, 8, ... seconds, and at last every five minutes.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Self, TypeVar

from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from modules.console import PlainConsole

T = TypeVar("T")
WORTH_A_LINE_S = 2.0
"""A part that is through before leaves nothing on the screen."""
_LONGEST_PAUSE_S = 300.0


class PartProgress:
    """The progress of one part, as a context.

    Args:
        title: what is being done, such as ``Writing videos``.
        total: how many of ``unit`` there are; None where nobody knows, so that only the time that has passed is shown.
        unit: what is counted, in the plural.
        completed: how many were done before.
        quiet: show nothing, as on ranks other than the first.
    """

    def __init__(
        self, title: str, total: int | None, unit: str = "", *, completed: int = 0, quiet: bool = False
    ) -> None:
        self.title, self.total, self.unit, self.quiet = title, total, unit, quiet
        self.completed = self._first = completed
        self.remark = ""
        self._console = PlainConsole(at_least=0)
        self._bar: Progress | None = None
        self._task = TaskID(0)

    def __enter__(self) -> Self:
        self._started = time.monotonic()
        self._line_due_s = WORTH_A_LINE_S
        if self.quiet:
            return self
        if self._console.is_terminal:
            columns = (
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=24),
                TimeElapsedColumn() if self.total is None else TextColumn("{task.fields[account]}", markup=False),
            )
            self._bar = Progress(*columns, console=self._console)
            self._task = self._bar.add_task(self.title, total=self.total, completed=self.completed, account="")
            self._bar.start()
        elif self.total is None:
            self._console.print(f"{self.title} ...", soft_wrap=True)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self.quiet:
            return
        if self._bar is not None:
            self._show()
            self._bar.live.transient = self.elapsed_s < WORTH_A_LINE_S
            self._bar.stop()
        elif error is None and self.total is not None and self.elapsed_s >= WORTH_A_LINE_S:
            self._console.print(f"{self.title}: {self.account()}", soft_wrap=True)

    def advance(self, number: int = 1) -> None:
        """So many more are done."""
        self.update(self.completed + number)

    def update(self, completed: int, remark: str = "") -> None:
        """Says how many are done now.

        Args:
            completed: of the total.
            remark: shown behind the count; empty keeps the one before.
        """
        self.completed, self.remark = completed, remark or self.remark
        if self.quiet:
            return
        if self._bar is not None:
            self._show()
        elif self.elapsed_s >= self._line_due_s and (self.total is None or completed < self.total):
            self._line_due_s = self.elapsed_s + min(max(self.elapsed_s, WORTH_A_LINE_S), _LONGEST_PAUSE_S)
            self._console.print(f"{self.title}: {self.account()}", soft_wrap=True)

    def pause(self) -> None:
        """Makes room for another part; `go_on` shows this one again."""
        if self._bar is not None:
            self._bar.live.transient = True
            self._bar.stop()

    def go_on(self) -> None:
        """Shows it again after a pause."""
        if self._bar is not None:
            self._bar.live.transient = False
            self._bar.start()

    @property
    def elapsed_s(self) -> float:
        """Since it began."""
        return time.monotonic() - self._started

    def account(self) -> str:
        """How many of how many, the remark, and the time that is left or was taken."""
        counted = "" if self.total is None else f"{self.completed}/{self.total} {self.unit}".strip()
        return ", ".join(filter(None, (counted, self.remark, self._time())))

    def _time(self) -> str:
        done = self.completed - self._first
        if self.total is None or self.completed >= self.total:
            return duration(self.elapsed_s)
        return f"{duration((self.total - self.completed) * self.elapsed_s / done)} left" if done else ""

    def _show(self) -> None:
        assert self._bar is not None
        self._bar.update(self._task, completed=self.completed, account=self.account())


def tracked(items: Iterable[T], title: str, total: int, unit: str) -> Iterator[T]:
    """Goes through items and shows how many are done; the arguments are those of `PartProgress`."""
    with PartProgress(title, total, unit) as progress:
        for item in items:
            yield item
            progress.advance()


def duration(seconds: float) -> str:
    """A time in words: ``12 s``, ``3 min 5 s``, ``2 h 4 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, hours = whole // 60, whole // 3600
    return f"{minutes} min {whole % 60} s" if not hours else f"{hours} h {minutes % 60} min"
