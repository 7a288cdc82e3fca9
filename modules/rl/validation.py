"""What a validation comes to: the share of right answers, by kind of question, and of evidence that was found.

An open question is answered right by one of its references in plain words (`modules.rewards.exact_match`); one that has
neither options nor references is answered neither right nor wrong, and left out of the share.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from modules.distributed.ranks import gather_lists
from modules.records import Answer, VideoQuestion
from modules.rewards.exact_match import exact_match
from modules.selection.evidence import coverage
from modules.systems.base import Reply


class Validation:
    """Collects the replies of one validation after another.

    Args:
        chosen_option: which option an answer names.
    """

    def __init__(self, chosen_option: Callable[[Answer], int | None]) -> None:
        self.chosen_option = chosen_option
        self._rows: list[tuple[str, str, float, float]] = []

    def begin(self) -> None:
        """Forgets the validation before."""
        self._rows = []

    def add(self, questions: Sequence[VideoQuestion], replies: Sequence[Reply]) -> None:
        """One reply to each question."""
        for question, reply in zip(questions, replies, strict=True):
            answer = reply.answer
            correct = self._correct(answer)
            found, _ = coverage(answer.evidence_s, answer.timestamps_s)
            self._rows.append((question.sample_id, str(question.groups.get("kind", "")), correct, found))

    def _correct(self, answer: Answer) -> float:
        """1 or 0; NaN where nothing says what is right."""
        if answer.answer_index is not None:
            return float(self.chosen_option(answer) == answer.answer_index)
        return exact_match(answer.text or "", answer.references) if answer.references else float("nan")

    def means(self) -> dict[str, float]:
        """Over the questions of all ranks, which have to ask together; by the path that each is logged under."""
        rows = gather_lists(self._rows, key=lambda row: row[0])
        _, kind, correct, found = (np.array(column) for column in zip(*rows, strict=True))
        means = {"val/accuracy": _known_mean(correct), "val/evidence_found": _known_mean(found)}
        return means | {f"val/accuracy_{name}": _known_mean(correct[kind == name]) for name in sorted(set(kind) - {""})}


def _known_mean(values: NDArray[np.float64]) -> float:
    """Of those that are not NaN; NaN where all are."""
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")
