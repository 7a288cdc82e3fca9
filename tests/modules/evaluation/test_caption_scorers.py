"""Scorers of captions: by hand, against one another, over all answers together, and in the table."""

from __future__ import annotations

import math
import shutil

import numpy as np
import pytest
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.rouge.rouge import Rouge

from modules.evaluation.aggregate import grade, report
from modules.evaluation.answer_files import Answered
from modules.evaluation.paired import compare
from modules.evaluation.question_table import table_of
from modules.evaluation.score_table import default_scorer, score_systems
from modules.evaluation.scorers import scorer
from modules.records import Answer
from modules.rewards.caption_metrics import caption_metrics
from modules.rewards.caption_words import caption_words

WORDS = ["a", "the", "red", "blue", "dog", "cat", "ball", "runs", "sits", "and", "then", "one", "two"]


def answer(n: int, text: str, references: tuple[str, ...], system: str = "x", kind: str = "k") -> Answer:
    return Answer("d", "s", f"q{n}", f"v{n}", system, "Describe the video.", (), None, text=text,
                  references=references, groups={"kind": kind})  # fmt: skip


def some_answers(count: int, system: str = "x", seed: int = 0) -> list[Answer]:
    """Captions that are a reference with some of its words replaced."""
    rng, says = np.random.default_rng(0), np.random.default_rng([1, seed])
    answers = []
    for n in range(count):
        references = tuple(" ".join(rng.choice(WORDS, rng.integers(5, 10))) for _ in range(rng.integers(1, 4)))
        words = [str(says.choice(WORDS)) if says.random() < 0.3 else word for word in references[0].split()]
        answers.append(answer(n, " ".join(words[: says.integers(4, 11)]), references, system, f"k{n % 2}"))
    return answers


def micro(answers: list[Answer], name: str) -> float:
    return report(grade(answers, scorer(name)))[0].value


def test_bleu_by_hand() -> None:
    first, second = answer(0, "a b c d e", ("a b c x e",)), answer(1, "w x y z", ("w x y z",))
    assert micro([first], "bleu-1") == pytest.approx(4 / 5)
    assert micro([first], "bleu-3") == pytest.approx((4 / 5 * 2 / 4 * 1 / 3) ** (1 / 3))
    assert micro([first], "bleu-4") == 0  # none of two
    together = (8 / 9 * 5 / 7 * 3 / 5 * 1 / 3) ** (1 / 4)  # no mean of 0 and 1
    assert micro([first, second], "bleu-4") == pytest.approx(together)
    short = answer(2, "w x", ("w x y z", "w x y z v w"))
    assert micro([short], "bleu-2") == pytest.approx(math.exp(1 - 4 / 2))


def test_rouge_l_of_papers_on_captions_by_hand() -> None:
    """Precision 1 of the second reference, recall 1/2 of either, beta 1.2."""
    found = micro([answer(0, "a b c d", ("a b x y", "a b c d e f g h"))], "rouge-l-coco")
    assert found == pytest.approx((1 + 1.2**2) * 0.5 / (0.5 + 1.2**2))


def test_numbers_are_coco_caption_s() -> None:
    """BLEU is torchmetrics', and equal to the file that may not be used for commerce."""
    answers = some_answers(60)
    references = {a.sample_id: list(map(caption_words, a.references)) for a in answers}
    texts = {a.sample_id: [caption_words(a.text or "")] for a in answers}
    bleu = Bleu(4).compute_score(references, texts, verbose=0)[0]
    assert [micro(answers, f"bleu-{n}") for n in (1, 2, 3, 4)] == pytest.approx(bleu, abs=1e-7)
    assert micro(answers, "cider-d") == pytest.approx(Cider().compute_score(references, texts)[0])
    assert micro(answers, "rouge-l-coco") == pytest.approx(Rouge().compute_score(references, texts)[0])
    found = caption_metrics([a.text or "" for a in answers], [a.references for a in answers])
    for name, value in found.items():
        own = {"rouge_l": "rouge-l-coco"}.get(name, name.replace("_", "-"))
        assert micro(answers, own) == pytest.approx(value), name


def test_captions_have_one_table_with_every_metric_and_intervals() -> None:
    answers = [*some_answers(40, "x", 1), *some_answers(40, "y", 2)]
    assert default_scorer(answers).name == "cider-d@1"
    lines = {line.name: line for line in score_systems(answers, "cider-d", None)["y"]}
    assert list(lines) == [
        "micro", "kind=k0", "kind=k1", "nothing read", "bleu-1@1", "bleu-2@1", "bleu-3@1", "bleu-4@1", "rouge-l-coco@1"
    ]  # fmt: skip
    for name in ("micro", "kind=k1", "bleu-4@1", "rouge-l-coco@1"):
        assert lines[name].low < lines[name].value < lines[name].high, name
    assert lines["micro"].value == micro(answers[40:], "cider-d")
    assert lines["bleu-2@1"].value == micro(answers[40:], "bleu-2")


def test_an_interval_of_bleu_is_of_the_corpus_not_of_sentences() -> None:
    """Of some answers with repeats, as the bootstrap draws them, the number is that of coco-caption on those."""
    answers = some_answers(30)
    graded, drawn = grade(answers, scorer("bleu-4")), np.random.default_rng(0).integers(0, 30, 30)
    expected = Bleu(4).compute_score(*_as_documents([answers[i] for i in drawn]), verbose=0)[0][3]
    assert graded.value(drawn) == pytest.approx(expected, abs=1e-7)
    assert graded.value(drawn) != pytest.approx(graded.correct[drawn].mean(), abs=1e-3)


def _as_documents(answers: list[Answer]) -> tuple[dict, dict]:
    return (
        {n: list(map(caption_words, a.references)) for n, a in enumerate(answers)},
        {n: [caption_words(a.text or "")] for n, a in enumerate(answers)},
    )


def test_an_answer_without_a_word_is_nothing_read() -> None:
    answers = [answer(0, " ", ("a cat sits",)), answer(1, "a dog runs", ("a dog runs",)), answer(2, "...", ("b",))]
    graded = grade(answers, scorer("cider-d"))
    assert graded.num_unread == 1
    assert graded.correct[[0, 2]].tolist() == [0, 0]
    assert graded.correct[1] > 5
    for name in ("bleu-4", "rouge-l-coco", "bleu-1"):
        assert np.isfinite(micro(answers, name)), name


def test_rows_of_the_table_and_pairs_of_runs_see_all_answers() -> None:
    first, second = some_answers(20, "x", 1), some_answers(20, "x", 2)
    rows = table_of([Answered(a) for a in first], scorer("cider-d"))
    assert rows.correct.mean() == pytest.approx(micro(first, "cider-d"))
    found = compare(first, second, scorer("bleu-2"))
    assert found.difference == pytest.approx(micro(second, "bleu-2") - micro(first, "bleu-2"))
    assert found.low < found.difference < found.high
    assert found.only_a_right + found.only_b_right <= 20


def test_what_is_asked_tells_captions_from_other_open_questions() -> None:
    captions = some_answers(2)
    assert default_scorer(captions).name == "cider-d@1"
    assert default_scorer(captions[:1]).name == "rouge-l@1"
    assert default_scorer([answer(n, "a", ("in spring",)) for n in range(3)]).name == "rouge-l@1"
    other = Answer("d", "s", "q9", "v9", "x", "Why?", (), None, text="a", references=captions[0].references)
    assert default_scorer([*captions, other]).name == "rouge-l@1"


def test_java_is_asked_for_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    from modules.evaluation.java_scorers import MeteorScorer, SpiceScorer

    for made in (MeteorScorer, SpiceScorer):
        with pytest.raises(ValueError, match=f"the scorer {made.name} is a Java program, and this machine has no"):
            made()


@pytest.mark.skipif(shutil.which("java") is None, reason="SPICE is a Java program")
def test_spice_says_what_has_to_be_fetched() -> None:
    from modules.evaluation.java_scorers import SpiceScorer

    what = (
        r"needs Stanford CoreNLP 3.6.0, and stanford.*-models.jar is not there. Fetch it once.* Maven Central .*/lib$"
    )
    with pytest.raises(ValueError, match=what):
        SpiceScorer()


@pytest.mark.long
@pytest.mark.skipif(shutil.which("java") is None, reason="METEOR is a Java program")
def test_meteor_is_coco_caption_s() -> None:
    from pycocoevalcap.meteor.meteor import Meteor

    answers = some_answers(12)
    expected, each = Meteor().compute_score(*_as_documents(answers))
    assert micro(answers, "meteor") == pytest.approx(expected, abs=1e-9)
    graded = grade(answers, scorer("meteor"))
    assert graded.correct.tolist() == pytest.approx(each, abs=1e-9)
    assert expected != pytest.approx(np.mean(each), abs=1e-3)  # the corpus' number is no mean
