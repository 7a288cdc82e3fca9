"""Which option an answer names: the most probable one, or the one that its text names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from modules.parsing import parse_option
from modules.records import Answer


def most_probable_option(answer: Answer) -> int | None:
    """Index of the option of the greatest log-probability; None where the model gave none."""
    scores = answer.option_log_probs
    if not scores or max(scores) == float("-inf"):
        return None
    return max(range(len(scores)), key=lambda o: scores[o])


def named_option(answer: Answer) -> int | None:
    """Index of the option that the text names, by the rules of `modules.parsing`; None where it names none."""
    return parse_option(answer.text or "", answer.options)


@dataclass(frozen=True)
class Grading:
    """In which form an answer is taken, and which option it then names."""

    score_options: bool
    """Take log-probabilities of the options."""
    write_text: bool
    """Take an answer in text."""
    chosen_option: Callable[[Answer], int | None]
    """Index of the option; None where the answer names none."""


GradeBy = Literal["options", "text"]
GRADINGS: dict[GradeBy, Grading] = {
    "options": Grading(True, False, most_probable_option),
    "text": Grading(False, True, named_option),
}
"""What a recipe calls them."""
