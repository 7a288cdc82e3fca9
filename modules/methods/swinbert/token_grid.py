"""Where the video tokens of a clip lie: steps of time, rows and columns, in this order when they are flattened."""

from __future__ import annotations

from typing import NamedTuple


class TokenGrid(NamedTuple):
    """Tokens along time, height and width, e.g. 4 x 7 x 7 of eight frames at 224 px."""

    steps: int
    rows: int
    columns: int

    @property
    def num_tokens(self) -> int:
        """M."""
        return self.steps * self.rows * self.columns

    def __str__(self) -> str:
        return " x ".join(map(str, self))
