"""The memory of one question: texts about spans of a video, coarse ones with finer ones beneath them.

At the start it holds one text for each coarse span. Looking again at a span replaces its text and adds finer ones below
(`MemoryTree.put`). A language model reads the tree as lines with times, finer ones indented (`MemoryTree.text`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from modules.methods.videolucy.frame_clock import FrameClock, Span
from modules.methods.videolucy.notation import Notation, Written
from modules.records import Cost


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What a captioner wrote about a span."""

    span: Span
    level: int
    """0 is the coarsest."""
    text: str
    prompt: str
    """That the captioner was given."""
    model: str
    """Key of the captioner."""
    shown: tuple[int, ...]
    """Candidate indices of the frames that it was shown."""
    cost: Cost
    reused: bool = False
    """Whether the text was in the store already; its cost then has no seconds."""


class MemoryTree:
    """Entries by level and span, at most one for each.

    Args:
        clock: of the video.
        num_levels: 1 or more; entries of the last cannot be looked at more closely.
        notation: how entries are written.
    """

    def __init__(self, clock: FrameClock, num_levels: int, notation: Notation | None = None) -> None:
        self.clock, self.num_levels, self.notation = clock, num_levels, notation or Notation()
        self._entries: dict[tuple[int, Span], Entry] = {}

    def put(self, entries: Iterable[Entry]) -> None:
        """Adds entries; one of the same level and span is replaced."""
        for entry in entries:
            assert entry.level < self.num_levels
            self._entries[entry.level, entry.span] = entry

    @property
    def entries(self) -> list[Entry]:
        """All of them, as they came."""
        return list(self._entries.values())

    def at(self, level: int) -> list[Entry]:
        """Entries of a level, in order of time."""
        return sorted((e for e in self._entries.values() if e.level == level), key=lambda e: e.span)

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def deepest(self) -> int:
        """The finest level that there is an entry of."""
        return max((level for level, _ in self._entries), default=0)

    def keep(self, coarse: Iterable[Entry]) -> None:
        """Leaves only these coarse entries, with what lies below them."""
        spans = [entry.span for entry in coarse]
        self._entries = {
            key: entry for key, entry in self._entries.items() if any(entry.span in span for span in spans)
        }

    def with_neighbours(self, coarse: Iterable[Entry]) -> list[Entry]:
        """Coarse entries, each with the one before it and the one behind it where there is one, in order of time."""
        entries = self.at(0)
        places = {entries.index(entry) for entry in coarse}
        near = {place + step for place in places for step in (-1, 0, 1)}
        return [entry for place, entry in enumerate(entries) if place in near]

    def open(self, searched: Iterable[tuple[int, Span]]) -> list[Entry]:
        """Entries that can still be looked at more closely, in order of time, coarser ones first.

        Args:
            searched: level and span of those that have been.
        """
        done = set(searched)
        found = [e for key, e in self._entries.items() if e.level < self.num_levels - 1 and key not in done]
        return sorted(found, key=lambda e: (e.span.first, e.level))

    def text(self, searched: Iterable[Entry] = ()) -> str:
        """Lines of ``[times] text``, in order of time, finer ones indented below the one they belong to.

        Args:
            searched: entries, as they are or were, that have been looked at again.
        """
        done = {(entry.level, entry.span) for entry in searched}
        return "\n".join(self.notation.lines([self._written(e, (e.level, e.span) in done) for e in self._listed]))

    def period_text(self, span: Span) -> str:
        """The times of a span, as `text` writes them."""
        return self.notation.period_text(self.clock.seconds(span))

    def name(self, entry: Entry) -> str:
        """How a model that reads `text` would call an entry: by its number where it has one, or else its times."""
        number = self._numbers().get((entry.level, entry.span))
        return self.notation.name(self.clock.seconds(entry.span), number)

    def of_number(self, number: int) -> Entry | None:
        """The entry that stands in `text` with that number; None where none does."""
        found = [key for key, other in self._numbers().items() if other == number]
        return self._entries[found[0]] if found else None

    @property
    def _listed(self) -> list[Entry]:
        return sorted(self._entries.values(), key=lambda e: (e.span.first, e.level))

    def _written(self, entry: Entry, searched: bool = False) -> Written:
        return Written(entry.level, self.clock.seconds(entry.span), entry.text, searched)

    def _numbers(self) -> dict[tuple[int, Span], int]:
        numbers = self.notation.numbered([self._written(entry) for entry in self._listed])
        return {(e.level, e.span): n for e, n in zip(self._listed, numbers, strict=True) if n is not None}


def nearest(span: Span, entries: Sequence[Entry]) -> Entry | None:
    """The entry that a span overlaps most, as a share of both; the finer one where two do, then the earlier one.

    Returns:
        None where it overlaps none.
    """
    best = max(entries, key=lambda e: (span.overlap(e.span), e.level, -e.span.first), default=None)
    return best if best is not None and span.overlap(best.span) else None
