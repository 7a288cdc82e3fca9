"""What a validation comes to: the share of right answers, by kind of question, and of evidence that was found."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from modules.distributed.ranks import gather_lists
from modules.records import Answer, VideoQuestion
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
            correct = float(self.chosen_option(answer) == answer.answer_index)
            found, _ = coverage(answer.evidence_s, answer.timestamps_s)
            self._rows.append((question.sample_id, str(question.groups.get("kind", "")), correct, found))

    def means(self) -> dict[str, float]:
        """Over the questions of all ranks, which have to ask together; by the path that each is logged under."""
        rows = gather_lists(self._rows, key=lambda row: row[0])
        _, kind, correct, found = (np.array(column) for column in zip(*rows, strict=True))
        means = {"val/accuracy": float(correct.mean()), "val/evidence_found": float("nan")}
        if np.isfinite(found).any():
            means["val/evidence_found"] = float(np.nanmean(found))
        return means | {
            f"val/accuracy_{name}": float(correct[kind == name].mean()) for name in sorted(set(kind) - {""})
        }
