"""The metrics of captions that need no Java: BLEU, ROUGE-L and CIDEr-D.

All read the words that `modules.rewards.caption_words` finds, and are to be compared with published numbers as they
stand in the tables, in percent. BLEU is torchmetrics', the others are pycocoevalcap's. (Its BLEU has the same numbers,
but the file says that it is not for commercial use.)
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np

from modules.evaluation.open_scorers import OpenScorer
from modules.evaluation.scorer_base import CorpusScorer
from modules.records import Answer
from modules.rewards.caption_words import caption_words
from modules.rewards.cider_d import cider_d

MAX_N = 4


class BleuScorer(CorpusScorer, OpenScorer):
    """BLEU (Papineni et al. 2002) of all answers together; the length is held against the closest reference's.

    exp(min(0, 1 - r/c)) (p_1 ... p_n)^(1/n), where p_k is the share of k-grams that a reference has, c the number of
    words written and r that of the closest references, each summed over the answers; 0 where one of the p is.

    Args:
        n: longest n-grams, 1 to 4.
    """

    def __init__(self, n: int) -> None:
        self.n, self.name = n, f"bleu-{n}@1"  # type: ignore[misc]

    def counts(self, answer: Answer) -> np.ndarray:
        """c, r, then for k from 1 to n the k-grams that are in a reference, then all k-grams."""
        found = bleu_counts(answer.text or "", answer.references)
        return np.array([*found[:2], *found[2 : 2 + self.n], *found[2 + MAX_N :][: self.n]])

    def value(self, totals: np.ndarray) -> float:
        written, closest, found, every = totals[0], totals[1], totals[2 : 2 + self.n], totals[2 + self.n :]
        if not found.all():
            return 0.0
        return float(np.exp(min(0.0, 1 - closest / written) + np.log(found / every).mean()))

    def compare(self, answer: Answer) -> float:
        return self.value(self.counts(answer))


@functools.lru_cache(maxsize=65536)
def bleu_counts(text: str, references: tuple[str, ...]) -> tuple[float, ...]:
    """Words written, words of the closest reference, k-grams that are in a reference for k = 1 to 4, all k-grams."""
    from torchmetrics.text import BLEUScore  # here, as it takes 3 s and few runs score captions

    bleu = BLEUScore(n_gram=MAX_N)
    # of two lengths equally close it takes the first, and everybody else the shorter
    ordered = sorted(map(caption_words, references), key=lambda caption: len(caption.split()))
    bleu.update([caption_words(text)], [ordered])
    return tuple(float(x) for x in (bleu.preds_len, bleu.target_len, *bleu.numerator, *bleu.denominator))


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
    """ROUGE-L as papers on captions report it: beta 1.2, precision and recall each of the reference that is best in it.

    (1 + b^2) P R / (R + b^2 P), P and R the shares of the longest common subsequence in text and reference.
    """

    name = "rouge-l-coco@1"

    def compare(self, answer: Answer) -> float:
        from pycocoevalcap.rouge.rouge import Rouge

        return float(
            Rouge().calc_score([caption_words(answer.text or "")], list(map(caption_words, answer.references)))
        )
