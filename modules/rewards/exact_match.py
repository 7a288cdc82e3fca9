"""1 where a written answer is one of the references, but for case, articles, punctuation and spaces (SQuAD's rule)."""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from modules.records import Rollouts
from modules.rewards.base import Reward

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def plain_words(text: str) -> str:
    """Lower case, without punctuation and English articles, single spaces.

    >>> plain_words("The  red Ball.")
    'red ball'
    """
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact_match(text: str, references: Sequence[str]) -> float:
    """1 where the text is one of the references in plain words, else 0."""
    return float(plain_words(text) in {plain_words(reference) for reference in references})


class ExactMatch(Reward):
    """0/1 against the references of open questions; NaN for questions without any."""

    name = "exact_match"
    needs_text = True
    needs_options = False

    def __call__(self, rollouts: Rollouts) -> Tensor:
        return against_references(rollouts, exact_match)


def against_references(rollouts: Rollouts, grade: Callable[[str, Sequence[str]], float]) -> Tensor:
    """float32 (B, G): grades of the texts, NaN for questions without references.

    Args:
        rollouts: with texts.
        grade: of a text against references.
    """
    assert rollouts.texts is not None
    pairs = zip(rollouts.batch.questions, rollouts.texts, strict=True)
    return torch.tensor(
        [[grade(t, q.references) if q.references else torch.nan for t in texts] for q, texts in pairs],
        dtype=torch.float32,
    )
