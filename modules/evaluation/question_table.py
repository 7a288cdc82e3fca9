"""One row a question and system: what was right, what was found, what it cost; for notebooks and other programs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
import torch

from modules.evaluation.answer_files import Answered
from modules.evaluation.scorers import Scorer
from modules.records import Answer
from modules.selection.evidence import coverage


def table_of(answered: Sequence[Answered], scorer: Scorer) -> pd.DataFrame:
    """Rows sorted by sample_id and system.

    Columns: sample_id, video, one for each group, system, correct (0..1; CIDEr-D 0..10), probability of the right
    option, the shares of evidence_found and evidence_repeated (see `modules.selection.evidence.coverage`), and what it
    cost, but for seconds.
    """
    rows = []
    for system in dict.fromkeys(one.answer.system for one in answered):
        own = [one for one in answered if one.answer.system == system and scorer.judges(one.answer)]
        grades = scorer.grade_all([one.answer for one in own])
        rows += [_row(one, grade or 0.0) for one, grade in zip(own, grades, strict=True)]
    return pd.DataFrame(rows).sort_values(["sample_id", "system"], ignore_index=True) if rows else pd.DataFrame()


def _row(answered: Answered, correct: float) -> dict[str, Any]:
    answer, cost = answered.answer, answered.cost
    found, repeated = coverage(answer.evidence_s, answer.timestamps_s)
    row = {
        "sample_id": answer.sample_id,
        "video": answer.video,
        **answer.groups,
        "system": answer.system,
        "correct": correct,
        "probability": _probability(answer, correct),
        "evidence_found": found,
        "evidence_repeated": repeated,
    }
    if cost is not None:
        row |= {key: value for key, value in vars(cost).items() if key != "seconds"}
    return row


def _probability(answer: Answer, correct: float) -> float:
    """Of the right option; of a text it is 0 or 1."""
    if answer.option_log_probs is None or answer.answer_index is None:
        return correct
    return float(torch.tensor(answer.option_log_probs[answer.answer_index]).exp())  # float32, as it was scored
