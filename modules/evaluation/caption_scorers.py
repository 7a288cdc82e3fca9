"""The metrics of captions as scorers, in the table in percent, as papers report them: BLEU, ROUGE-L and CIDEr-D."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from modules.evaluation.open_scorers import OpenScorer
from modules.evaluation.scorer_base import CorpusScorer
from modules.records import Answer
from modules.rewards.caption_metrics import bleu_counts, bleu_of, rouge_l_coco
from modules.rewards.cider_d import cider_d


class BleuScorer(CorpusScorer, OpenScorer):
    """BLEU of all answers together; see `modules.rewards.caption_metrics.bleu_of`.

    Args:
        n: longest n-grams, 1 to 4.
    """

    def __init__(self, n: int) -> None:
        self.n, self.name = n, f"bleu-{n}@1"  # type: ignore[misc]

    def counts(self, answer: Answer) -> np.ndarray:
        return np.array(bleu_counts(answer.text or "", answer.references))

    def value(self, totals: np.ndarray) -> float:
        return bleu_of(totals, self.n)

    def compare(self, answer: Answer) -> float:
        return self.value(self.counts(answer))


class CIDErDScorer(OpenScorer):
    """See `modules.rewards.cider_d`; n-grams are weighed by the references of all answers that are graded together.

    A grade lies between 0 and 10; of an answer alone it is 0, since no word tells one document from others.
    """

    name = "cider-d@1"
    companions = ("bleu-1", "bleu-2", "bleu-3", "bleu-4", "rouge-l-coco")

    def compare(self, answer: Answer) -> float:
        return cider_d([answer.text or ""], [answer.references])[0]

    def grade_all(self, answers: Sequence[Answer]) -> list[float | None]:
        scores = cider_d([answer.text or "" for answer in answers], [answer.references for answer in answers])
        return [s if (a.text or "").strip() else None for s, a in zip(scores, answers, strict=True)]


class RougeLCocoScorer(OpenScorer):
    """See `modules.rewards.caption_metrics.rouge_l_coco`."""

    name = "rouge-l-coco@1"

    def compare(self, answer: Answer) -> float:
        return rouge_l_coco(answer.text or "", answer.references)
