"""How a memory is written down for the reasoner: the times of an entry, and what of its text is left out.

The paper's language model reads seconds and whole sentences. A small one that was trained on memories reads better what
is short and always of one form: whole seconds or mere numbers, no word for "nothing to be seen", no frame said twice.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

_LONGEST_PHRASE = 4
_GAP = "..."
_SEARCHED = "*"


@dataclass(frozen=True)
class Written:
    """What is to be written about one span."""

    level: int
    seconds: tuple[float, float]
    text: str
    searched: bool = False
    """Whether it was looked at again."""


@dataclass(frozen=True, kw_only=True)
class Notation:
    """How entries are written.

    Args:
        times: ``periods`` from start to end in tenths of a second, ``starts`` the whole second at which an entry
            begins, ``numbers`` neither: the entries that are read are #1, #2 and so on, in the order in which they
            stand. So a memory of an hour looks like one of ten minutes in which as much happens.
        marks: ``*`` behind the time or the number of an entry that was looked at again, and a line ``...`` where
            coarse entries between two others are not read.
        behind: an entry is ``- words #7``, or ``-* words #7`` where it was looked at again: its name is what follows
            upon its words.
        leave_out: words that need not be read, say those for "nothing happens". An entry of which nothing is left is
            not read; it is kept, and can be looked at again.
        repeats: false writes a phrase of up to four words that follows upon itself once.
    """

    times: Literal["periods", "starts", "numbers"] = "periods"
    marks: bool = False
    behind: bool = False
    leave_out: list[str] = field(default_factory=list)
    repeats: bool = True

    def period_text(self, seconds: tuple[float, float]) -> str:
        """A stretch as a model reads it where it has no number, e.g. ``60.0 s - 120.0 s``, or ``60``."""
        return f"{seconds[0]:.1f} s - {seconds[1]:.1f} s" if self.times == "periods" else f"{seconds[0]:.0f}"

    def name(self, seconds: tuple[float, float], number: int | None) -> str:
        """How a model would call an entry: by its number where it has one, or else its times."""
        return self.period_text(seconds) if number is None else f"#{number}"

    def numbered(self, entries: Sequence[Written]) -> list[int | None]:
        """The number of each entry of a memory; None where there is nothing to read, or where times are written."""
        if self.times != "numbers":
            return [None] * len(entries)
        count = itertools.count(1)
        return [next(count) if self._is_read(entry) else None for entry in entries]

    def lines(self, entries: Sequence[Written]) -> list[str]:
        """A memory, a line an entry that is read.

        Args:
            entries: all of them, in order of time, coarser ones first.
        """
        lines, end_s = list[str](), None
        for entry, number in zip(entries, self.numbered(entries), strict=True):
            if not self._is_read(entry):
                continue
            if self.marks and end_s is not None and entry.seconds[0] > end_s:
                lines.append(_GAP)
            end_s = max(end_s or 0.0, entry.seconds[1])
            lines.append(self._line(entry, number))
        return lines

    def words(self, text: str) -> str:
        """What is read of a text, on one line; empty where that is nothing."""
        words = [word for word in text.split() if word not in self.leave_out]
        return " ".join(words if self.repeats else _without_repeats(words))

    def _is_read(self, entry: Written) -> bool:
        return not self.leave_out or bool(self.words(entry.text))

    def _line(self, entry: Written, number: int | None) -> str:
        name = self.name(entry.seconds, number)
        name = f"[{name}]" if self.times == "periods" else name
        mark = _SEARCHED if self.marks and entry.searched else ""
        indent, words = "  " * entry.level, self.words(entry.text)
        if self.behind:
            return " ".join(part for part in (f"{indent}-{mark}", words, name) if part)
        return f"{indent}{name}{mark} {words}"


def _without_repeats(words: list[str]) -> list[str]:
    """Phrases that follow upon themselves, once; the longest first.

    >>> _without_repeats("red star red star blue ring".split())
    ['red', 'star', 'blue', 'ring']
    """
    kept: list[str] = []
    for word in words:
        kept.append(word)
        for length in range(_LONGEST_PHRASE, 0, -1):
            if kept[-length:] == kept[-2 * length : -length]:
                del kept[-length:]
                break
    return kept
