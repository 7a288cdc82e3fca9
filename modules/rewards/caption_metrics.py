"""The metrics of captions that need no Java, over a list of captions: BLEU, ROUGE-L, and `cider_d` beside.

All read the words that `modules.rewards.caption_words` finds. BLEU is torchmetrics', the others are pycocoevalcap's.
(Its BLEU has the same numbers, but the file says that it is not for commercial use.)
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np

from modules.rewards.caption_words import caption_words
from modules.rewards.cider_d import cider_d

MAX_N = 4


def caption_metrics(texts: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, float]:
    """``cider_d`` (0..10), ``rouge_l`` and ``bleu_1`` to ``bleu_4`` (0..1) of N captions; papers report them times 100.

    Args:
        texts: N captions.
        references: N lists of at least one each; n-grams are weighed by all of them.
    """
    pairs = [(text, tuple(captions)) for text, captions in zip(texts, references, strict=True)]
    totals = np.sum([bleu_counts(*pair) for pair in pairs], axis=0)
    found = {"cider_d": float(np.mean(cider_d(texts, references)))}
    found["rouge_l"] = float(np.mean([rouge_l_coco(*pair) for pair in pairs]))
    return found | {f"bleu_{n}": bleu_of(totals, n) for n in range(1, MAX_N + 1)}


@functools.lru_cache(maxsize=65536)
def bleu_counts(text: str, references: tuple[str, ...]) -> tuple[float, ...]:
    """Words written, words of the closest reference, k-grams that are in a reference for k = 1 to 4, all k-grams."""
    from torchmetrics.text import BLEUScore  # here, as it takes 3 s and few runs score captions

    bleu = BLEUScore(n_gram=MAX_N)
    # of two lengths equally close it takes the first, and everybody else the shorter
    ordered = sorted(map(caption_words, references), key=lambda caption: len(caption.split()))
    bleu.update([caption_words(text)], [ordered])
    return tuple(float(x) for x in (bleu.preds_len, bleu.target_len, *bleu.numerator, *bleu.denominator))


def bleu_of(totals: np.ndarray, n: int) -> float:
    """BLEU-n (Papineni et al. 2002) of the sum of some captions' `bleu_counts` (10,).

    exp(min(0, 1 - r/c)) (p_1 ... p_n)^(1/n), where p_k is the share of k-grams that a reference has, c the number of
    words written, and r that of the closest references; 0 where one of the p is.
    """
    written, closest, found, every = totals[0], totals[1], totals[2 : 2 + n], totals[2 + MAX_N :][:n]
    if not found.all():
        return 0.0
    return float(np.exp(min(0.0, 1 - closest / written) + np.log(found / every).mean()))


def rouge_l_coco(text: str, references: Sequence[str]) -> float:
    """ROUGE-L as papers on captions report it: precision and recall each of the reference that is best in it.

    (1 + b^2) P R / (R + b^2 P), b = 1.2; P and R the shares of the longest common subsequence in text and reference.
    """
    from pycocoevalcap.rouge.rouge import Rouge

    return float(Rouge().calc_score([caption_words(text)], list(map(caption_words, references))))
