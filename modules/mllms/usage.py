"""Tokens that a model has read and written, by question, while somebody counts them."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

from modules.records import Cost


class Usage:
    """Counts by ``sample_id``."""

    def __init__(self) -> None:
        self.costs: dict[str, Cost] = defaultdict(Cost)

    def add(
        self,
        sample_id: str,
        *,
        visual_tokens: int | None = 0,
        text_tokens_in: int | None = 0,
        text_tokens_out: int | None = 0,
    ) -> None:
        """Adds what one sequence or one request took; None where that is not known."""
        self.costs[sample_id] += Cost(
            visual_tokens=visual_tokens, text_tokens_in=text_tokens_in, text_tokens_out=text_tokens_out
        )

    def call(self, sample_id: str, frames_shown: int) -> None:
        """Adds one call of the model."""
        self.costs[sample_id] += replace(Cost(), calls=1, frames_shown=frames_shown)
