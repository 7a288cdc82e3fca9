"""Texts that an MLLM has drawn, with the rows that they complete."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from modules.mllms.base import Generation, Row


@dataclass(frozen=True)
class Completions:
    """One turn's texts as the MLLM drew them."""

    rows: list[Row]
    generation: Generation
    drawn_log_probs: list[Tensor] | None = None
    """R tensors float32 (L_r,): log-probabilities of what an engine drew the tokens from, where that was not the model
    itself; those of ``generation`` are the model's then."""

    def of(self, rows: list[int]) -> Completions:
        """Some of the texts."""
        drawn = self.generation
        return Completions(
            [self.rows[r] for r in rows],
            Generation(
                texts=[drawn.texts[r] for r in rows],
                token_ids=[drawn.token_ids[r] for r in rows],
                log_probs=[drawn.log_probs[r] for r in rows],
            ),
            None if self.drawn_log_probs is None else [self.drawn_log_probs[r] for r in rows],
        )

    @property
    def num_tokens(self) -> int:
        """Of all texts together."""
        return sum(map(len, self.generation.token_ids))
