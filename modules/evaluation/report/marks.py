"""A colour and a shape for each system, so that either alone tells neighbours apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from modules.colours import SERIES

_SHAPES = {
    "circle": "M-5 0a5 5 0 1 0 10 0a5 5 0 1 0-10 0z",
    "square": "M-4.6-4.6h9.2v9.2h-9.2z",
    "triangle": "M0-5.8L5.6 4.4H-5.6z",
    "diamond": "M0-6.2L5.2 0L0 6.2L-5.2 0z",
    "plus": "M-1.8-5.6h3.6v3.8h3.8v3.6h-3.8v3.8h-3.6v-3.8h-3.8v-3.6h3.8z",
    "turned triangle": "M0 5.8L5.6-4.4H-5.6z",
    "hourglass": "M-5-5.4h10L1.6 0L5 5.4H-5L-1.6 0z",
}
_CROSS = "M-5.4-3.6l1.8-1.8L0-1.8l3.6-3.6l1.8 1.8L1.8 0l3.6 3.6l-1.8 1.8L0 1.8l-3.6 3.6l-1.8-1.8L-1.8 0z"
_STAR = "M0-6.6L1.6-2.2L6.3-2L2.6.8L3.9 5.3L0 2.7L-3.9 5.3L-2.6.8L-6.3-2L-1.6-2.2z"
_OF_YARDSTICKS = {
    "blind": ("#6b6b6b", _CROSS),
    "uniform": ("#6b6b6b", _SHAPES["square"]),
    "random": ("#6b6b6b", _SHAPES["diamond"]),
    "oracle": ("#000000", _STAR),
}


@dataclass(frozen=True)
class Mark:
    """How a system is drawn wherever it is shown."""

    id: str
    """Of the symbol in the page."""
    colour: str
    path: str
    """Outline around (0, 0), within 7 units."""


def marks(methods: Sequence[str]) -> dict[str, Mark]:
    """A mark for each method, in order.

    With 6 colours and 7 shapes no pair comes twice among the first 42.
    """
    shapes, found = list(_SHAPES.values()), dict[str, Mark]()
    others = [method for method in dict.fromkeys(methods) if method not in _OF_YARDSTICKS]
    for n, method in enumerate(dict.fromkeys(methods)):
        if method in _OF_YARDSTICKS:
            found[method] = Mark(f"m{n}", *_OF_YARDSTICKS[method])
        else:
            number = others.index(method)
            found[method] = Mark(f"m{n}", SERIES[number % len(SERIES)], shapes[number % len(shapes)])
    return found
