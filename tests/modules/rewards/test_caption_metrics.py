"""CIDEr-D and the words it counts: by hand, against a plain loop, and against Stanford's tokenizer."""

from __future__ import annotations

import math
import shutil
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from modules.records import Candidates, QuestionBatch, Rollouts, Selection, VideoQuestion
from modules.rewards.caption_words import caption_words
from modules.rewards.cider_d import CIDErD, DocumentFrequencies, cider_d

CAPTIONS = (
    "A man's dog can't swim, it is well-known.",
    'She says "hello there" to the two boys\' father!',
    "He's holding a 3.5 kg ball at 10:30 a.m. in the U.S.",
    "It costs $5 (five dollars) & more.",
    "A man wearing a T-shirt; he doesn't smile...",
    "There are 1,000 people -- or more.",
    "A woman cannot find her keys, they're gonna dance.",
    "A girl in a black-and-white dress [laughs].",
    "Mr. Bean drives a car etc. to Dr. No.",
    "Two men play rock 'n' roll at 8 o'clock.",
    "A café with naïve people \u2013 outside",
    "a 2-year-old kid runs/jumps around",
    "add 1/2 cup of sugar for the 2nd time in the 1980's",
    "stir-fry the onion, garlic & ginger for 2-3 minutes at 350°F",
    "Rachel\u2019s friends say \u201cno\u201d, wouldn't he?",
    "a cat is playing with a ball of yarn",
)


def test_words_by_hand() -> None:
    assert caption_words("A red star, then: a BLUE ring.") == "a red star then a blue ring"
    assert caption_words("he doesn't see the man's t-shirt") == "he does n't see the man 's t-shirt"
    assert caption_words(" ... !") == ""


@pytest.mark.skipif(shutil.which("java") is None, reason="Stanford's tokenizer is a Java program")
def test_words_are_those_of_stanford_s_tokenizer() -> None:
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    java = PTBTokenizer().tokenize({n: [{"caption": caption}] for n, caption in enumerate(CAPTIONS)})
    assert {n: [caption_words(caption)] for n, caption in enumerate(CAPTIONS)} == java


def test_cider_d_by_hand() -> None:
    """Two documents, so a word of one weighs log 2 and "a", of both, nothing; three words have no 4-gram."""
    references = [("a cat sits",), ("a dog runs",)]
    same, other, half, nothing = cider_d(
        ["a cat sits", "a dog runs", "a cat", "a"], [references[0]] * 4, DocumentFrequencies(references)
    )
    assert same == pytest.approx(10 * 3 / 4)
    assert (other, nothing) == (0, 0)
    # one of two words and one of two pairs, of weight alike, at a length that is one less
    assert half == pytest.approx(10 * 2 / math.sqrt(2) / 4 * math.exp(-1 / (2 * 6**2)))


def test_cider_d_says_more_for_rare_words_and_nothing_for_repeating_them() -> None:
    references = [("a man is running", "a man runs fast"), ("a man is singing",), ("a man is cooking",)]
    said = ["a man is running", "a man is singing", "running running running running"]
    right, wrong, repeated = cider_d(said, [references[0]] * 3, DocumentFrequencies(references))
    assert right > 3 * wrong
    assert right > 3 * repeated


def naive_cider_d(text: str, captions: list[str], documents: list[list[str]]) -> float:
    """As the paper has it, one n after another."""

    def grams(caption: str, n: int) -> Counter[tuple[str, ...]]:
        words = caption_words(caption).split()
        return Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))

    total = 0.0
    for caption in captions:
        lengths = len(caption_words(text).split()) - len(caption_words(caption).split())
        for n in (1, 2, 3, 4):
            ours, theirs = grams(text, n), grams(caption, n)
            idf = {
                g: math.log(len(documents) / max(1, sum(any(g in grams(c, n) for c in d) for d in documents)))
                for g in ours | theirs
            }
            a = {g: count * idf[g] for g, count in ours.items()}
            b = {g: count * idf[g] for g, count in theirs.items()}
            norms = math.sqrt(sum(v * v for v in a.values())) * math.sqrt(sum(v * v for v in b.values()))
            dot = sum(min(v, b.get(g, 0.0)) * b.get(g, 0.0) for g, v in a.items())
            total += (dot / norms if norms else 0.0) * math.exp(-(lengths**2) / 72)
    return 10 * total / 4 / len(captions)


def test_cider_d_is_the_paper_s() -> None:
    rng = np.random.default_rng(0)
    words = ["a", "the", "red", "blue", "dog", "cat", "ball", "runs", "sits", "and", "then", "one", "two"]

    def caption() -> str:
        return " ".join(rng.choice(words, rng.integers(2, 9)))

    documents = [[caption() for _ in range(rng.integers(1, 4))] for _ in range(12)]
    texts = [caption() for _ in documents]
    expected = [naive_cider_d(text, captions, documents) for text, captions in zip(texts, documents, strict=True)]
    assert cider_d(texts, documents) == pytest.approx(expected)
    more, frequencies = documents[:2] * 20, DocumentFrequencies(documents)  # more texts than documents
    assert cider_d(texts[:2] * 20, more, frequencies) == pytest.approx(expected[:2] * 20)
    assert max(expected) > 0.5
    assert cider_d([], []) == []


# ---- the reward ----


def rollouts(references: tuple[str, ...], texts: list[str]) -> Rollouts:
    question = VideoQuestion("d", "s", "q", "v.mp4", 2.0, "Describe the video.", references=references)
    candidates, times = Candidates("v", torch.arange(2), torch.arange(2.0), 2.0), torch.arange(2.0)[None]
    batch = QuestionBatch([question], [candidates], torch.zeros(1, 2, 1), times >= 0, times, torch.zeros(1, 1, 1))
    index = torch.zeros(1, len(texts), 1, dtype=torch.int64)
    return Rollouts(batch, Selection(index, torch.zeros(index.shape)), texts=[texts])


def test_the_reward_weighs_by_all_questions_that_are_trained_on() -> None:
    drawn = rollouts(("a cat sits",), ["a cat sits", "a dog runs", "", "a cat"])
    asked = drawn.batch.questions[0]
    reward = CIDErD()
    with pytest.raises(ValueError, match="CIDErD does not know how rare words are"):
        reward(drawn)
    reward.training_begins([asked, replace(asked, references=("a dog runs",)), replace(asked, references=())])
    scores = reward(drawn)
    assert scores.dtype == torch.float32
    expected = [7.5, 0.0, 0.0, 10 * 2 / math.sqrt(2) / 4 * math.exp(-1 / 72)]
    torch.testing.assert_close(scores, torch.tensor([expected]))
    again = CIDErD()  # where all videos have the cat, it says nothing
    again.training_begins([asked, replace(asked, references=("a cat runs",)), replace(asked, references=("a cat",))])
    assert again(drawn)[0, 3] == 0 < again(drawn)[0, 0]


def test_the_reward_does_not_apply_without_references() -> None:
    drawn = rollouts((), ["a cat sits"])
    asked = replace(drawn.batch.questions[0], references=("a", "b"))
    reward = CIDErD()
    reward.training_begins([asked, asked])
    assert reward(drawn).isnan().all()
    with pytest.raises(ValueError, match="0 of 1 questions that are trained on have references"):
        reward.training_begins(drawn.batch.questions)
