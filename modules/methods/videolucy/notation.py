"""How a memory is written down for the reasoner: the times of an entry, and what of its text is left out.

The paper's language model reads seconds and whole sentences. A small one that was trained on memories reads better what
is short and always of one form: whole seconds, no word for "nothing to be seen", and no frame said twice.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

_LONGEST_PHRASE = 4


@dataclass(frozen=True, kw_only=True)
class Notation:
    """How entries are written.

    Args:
        times: ``periods`` from start to end in tenths of a second, ``starts`` the whole second at which an entry
            begins.
        leave_out: words that need not be read, say those for "nothing happens". An entry of which nothing is left is
            not read; it is kept, and can be looked at again.
        repeats: false writes a phrase of up to four words that follows upon itself once.
    """

    times: Literal["periods", "starts"] = "periods"
    leave_out: list[str] = field(default_factory=list)
    repeats: bool = True

    def period_text(self, seconds: tuple[float, float]) -> str:
        """A stretch as a model reads it, e.g. ``60.0 s - 120.0 s``, or ``60``."""
        return f"{seconds[0]:.0f}" if self.times == "starts" else f"{seconds[0]:.1f} s - {seconds[1]:.1f} s"

    def words(self, text: str) -> str:
        """What is read of a text, on one line; empty where that is nothing."""
        words = [word for word in text.split() if word not in self.leave_out]
        return " ".join(words if self.repeats else _without_repeats(words))

    def entry(self, level: int, seconds: tuple[float, float], text: str) -> str:
        """An entry as it stands in the memory; empty where there is nothing to read."""
        words = self.words(text)
        if self.leave_out and not words:
            return ""
        period = self.period_text(seconds)
        return f"{'  ' * level}{period if self.times == 'starts' else f'[{period}]'} {words}"


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
