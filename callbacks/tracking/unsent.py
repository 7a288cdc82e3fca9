"""What a tracking server has not got yet, as a plain file: a JSON line an entry, in the order it was logged."""

from __future__ import annotations

import json
import logging
import threading
from pathlib import Path
from typing import Any

_log = logging.getLogger(__name__)


class UnsentEntries:
    """A queue on disk between the training, which appends, and one thread that sends what is in it.

    Memory holds no more than is sent at once, however long nothing can be sent; what a killed process leaves is sent by
    the next one. The file is emptied whenever everything in it was sent.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.lost = path, 0
        self.changed = threading.Condition()
        """Held for every access; notified when something was appended."""
        self._sent_bytes = 0
        self._close_last_line()

    def _close_last_line(self) -> None:
        """A process that was killed while it appended has left half a line: it is one entry, which cannot be read."""
        if self.path.is_file() and not self.path.read_bytes().endswith(b"\n") and self.path.stat().st_size:
            with self.path.open("ab") as file:
                file.write(b"\n")

    def append(self, entry: dict[str, Any]) -> None:
        """Keeps an entry; where the disk takes none, says so once and counts it as lost."""
        line = json.dumps(entry, allow_nan=False).encode() + b"\n"
        with self.changed:
            try:
                self._write(line)
            except OSError as error:
                if not self.lost:
                    _log.warning(
                        "what is to be tracked cannot be kept in %s (%s); the training goes on", self.path, error
                    )
                self.lost += 1
            self.changed.notify_all()

    def _write(self, line: bytes) -> None:
        """Appends a line whole, or not at all."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab", buffering=0) as file:
            size = file.tell()
            if file.write(line) != len(line):
                file.truncate(size)
                raise OSError("the disk is full")

    def next(self, most: int) -> list[tuple[dict[str, Any], int]]:
        """The first entries that were not sent, at most so many, each with its end in the file.

        A line that cannot be read is an entry ``{"unreadable": ...}``.
        """
        entries: list[tuple[dict[str, Any], int]] = []
        with self.changed:
            if not self.path.is_file():
                return entries
            with self.path.open("rb") as file:
                file.seek(self._sent_bytes)
                while len(entries) < most and (line := file.readline()):
                    try:
                        entry = json.loads(line)
                    except ValueError:
                        entry = {"unreadable": line.decode(errors="replace")}
                    entries.append((entry, file.tell()))
        return entries

    def sent(self, end: int) -> None:
        """All up to that place in the file were sent."""
        with self.changed:
            self._sent_bytes = end
            if self.path.is_file() and end == self.path.stat().st_size:
                self.path.unlink()
                self._sent_bytes = 0
            self.changed.notify_all()

    @property
    def empty(self) -> bool:
        """Whether nothing waits."""
        with self.changed:
            return not self.path.is_file() or self.path.stat().st_size == self._sent_bytes
