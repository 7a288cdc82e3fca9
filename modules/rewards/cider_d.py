"""CIDEr-D (Vedantam et al. 2015, sec. 4 and appendix): how much of what people agree on a caption says.

Captions are vectors of n-grams, each weighed by how often it occurs and by how few videos have it in a reference
(tf-idf). Per n from 1 to 4, the similarity of caption and reference is their cosine, with counts clipped to those of
the reference and a Gaussian penalty on the difference of lengths (sigma 6); the mean over n and over the references is
taken times 10. It is pycocoevalcap's, the one that papers report (times 100: "CIDEr 55.9" is 0.559 here).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from modules.records import Rollouts, VideoQuestion
from modules.rewards.base import Reward
from modules.rewards.caption_words import caption_words

MAX_N = 4


class DocumentFrequencies:
    """In the references of how many videos each n-gram occurs.

    Args:
        references: of each video (or clip), the captions.
    """

    def __init__(self, references: Iterable[Sequence[str]]) -> None:
        self.num_documents = 0
        self.counts: Counter[tuple[str, ...]] = Counter()
        for captions in references:
            self.num_documents += 1
            self.counts.update({gram for caption in captions for gram in _n_grams(caption)})


def cider_d(
    texts: Sequence[str], references: Sequence[Sequence[str]], frequencies: DocumentFrequencies | None = None
) -> list[float]:
    """CIDEr-D of each of N texts, 0 (nothing in common) to 10.

    An n-gram that no document has weighs as much as one that a single document has.

    Args:
        texts: N captions.
        references: N lists of at least one each.
        frequencies: that n-grams are weighed by; of these references themselves where they are left out, as papers do
            with a test set. Of a single document nothing follows: all weights are log(1 / 1) = 0.
    """
    if not texts:
        return []
    from pycocoevalcap.cider.cider_scorer import CiderScorer, cook_refs, cook_test

    frequencies = frequencies or DocumentFrequencies(references)
    cooked = {captions: cook_refs(list(map(caption_words, captions))) for captions in set(map(tuple, references))}
    scores: list[float] = []
    for start in range(0, len(texts), frequencies.num_documents):
        part = slice(start, start + frequencies.num_documents)
        scorer = CiderScorer(n=MAX_N)
        scorer.document_frequency = frequencies.counts
        scorer.ctest = [cook_test(caption_words(text)) for text in texts[part]]
        scorer.crefs = [cooked[tuple(captions)] for captions in references[part]]
        # it takes the number of documents from the length of this list, and reads as much of it as there are texts
        scorer.crefs += [None] * (frequencies.num_documents - len(scorer.crefs))
        scores += map(float, scorer.compute_cider())
    return scores


def _n_grams(caption: str) -> Iterable[tuple[str, ...]]:
    from pycocoevalcap.cider.cider_scorer import precook

    return precook(caption_words(caption), MAX_N)


class CIDErD(Reward):
    """0..10 against the references of open questions, weighed by those of the questions that are trained on; NaN for
    questions without any.

    What a caption has in common with the others of its group moves it little: rare words that people agree on do. An
    answer without a word gets 0.
    """

    name = "cider_d"
    needs_text = True
    needs_options = False

    def __init__(self) -> None:
        self.frequencies: DocumentFrequencies | None = None

    def training_begins(self, questions: Sequence[VideoQuestion]) -> None:
        self.frequencies = DocumentFrequencies(question.references for question in questions if question.references)
        if self.frequencies.num_documents < 2:
            raise ValueError(
                f"CIDErD: {self.frequencies.num_documents} of {len(questions)} questions that are trained on have "
                "references; with fewer than two, no word weighs more than another. Use modules.rewards.rouge_l.RougeL"
            )

    def __call__(self, rollouts: Rollouts) -> Tensor:
        assert rollouts.texts is not None
        if self.frequencies is None:
            raise ValueError(
                "CIDErD does not know how rare words are: whoever trains has to call its `training_begins` with all "
                "questions that are trained on, before the first step"
            )
        scores = torch.full((len(rollouts.texts), len(rollouts.texts[0])), torch.nan)
        for b, (question, texts) in enumerate(zip(rollouts.batch.questions, rollouts.texts, strict=True)):
            if question.references:
                found = cider_d(texts, [question.references] * len(texts), self.frequencies)
                scores[b] = torch.tensor(found, dtype=torch.float32)
        return scores
