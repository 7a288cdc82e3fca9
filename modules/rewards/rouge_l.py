"""ROUGE-L (Lin 2004): F-measure of the longest common subsequence of words, of the best reference."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from modules.records import Rollouts
from modules.rewards.base import Reward
from modules.rewards.exact_match import against_references


def rouge_l(text: str, references: Sequence[str]) -> float:
    """F = 2 P R / (P + R), P and R the shares of the common subsequence in text and reference; 0..1; torchmetrics'."""
    if not text.strip():
        return 0.0
    from torchmetrics.functional.text import rouge_score  # here, as it takes 3 s and few runs score open answers

    found = rouge_score(text, [list(references)], accumulate="best", rouge_keys="rougeL")
    return float(found["rougeL_fmeasure"])


class RougeL(Reward):
    """0..1 against the references of open questions; NaN for questions without any."""

    name = "rouge_l"
    needs_text = True
    needs_options = False

    def __call__(self, rollouts: Rollouts) -> Tensor:
        return against_references(rollouts, rouge_l)
