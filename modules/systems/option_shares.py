"""The options of a question with their probabilities, and the model's choice beside the right one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from modules.records import Answer
from modules.systems.grading import most_probable_option


@dataclass(frozen=True)
class OptionShare:
    """One option of a question."""

    text: str
    share: float
    """Its probability, 0 to 1."""
    is_choice: bool
    """Whether the model chose it."""
    is_right: bool | None
    """Whether it is the right one; None where nobody knows."""

    @property
    def remark(self) -> str:
        """What is to be said of it; nothing of most."""
        if self.is_choice:
            return {True: "chosen, right", False: "chosen, wrong", None: "chosen"}[self.is_right]
        return "right" if self.is_right else ""

    def __str__(self) -> str:
        return f"{self.text} {self.share:.0%}" + (f" ({self.remark})" if self.remark else "")


def option_shares(
    options: Sequence[str], shares: Sequence[float], choice: int | None, right: int | None
) -> list[OptionShare]:
    """The options of a question.

    Args:
        options: their texts.
        shares: their probabilities.
        choice: the index of the one that the model chose; None where it chose none.
        right: the index of the right one; None where nobody knows.
    """
    return [
        OptionShare(text, share, number == choice, None if right is None else number == right)
        for number, (text, share) in enumerate(zip(options, shares, strict=True))
    ]


def shares_of(answer: Answer) -> list[OptionShare]:
    """The options of an answered question; none where their probabilities were not taken."""
    if answer.option_log_probs is None:
        return []
    shares = [math.exp(value) for value in answer.option_log_probs]
    return option_shares(answer.options, shares, most_probable_option(answer), answer.answer_index)
