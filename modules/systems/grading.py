"""Which option an answer names: the most probable one, or the one that its text names."""

from __future__ import annotations

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
