"""Reward terms on rollouts made by hand."""

from __future__ import annotations

import math

import pytest
import torch

from modules.records import Candidates, QuestionBatch, Rollouts, Selection, VideoQuestion
from modules.rewards.accuracy import Accuracy, parse_option
from modules.rewards.format import Format
from modules.rewards.probability import Probability
from modules.rewards.temporal import TemporalLocating


def rollouts(options=("red", "green", "blue"), answer: int | None = 2, evidence=((2.0, 4.0),)) -> Rollouts:
    question = VideoQuestion("d", "s", "q", "v", 10.0, "?", options, answer, evidence)
    times = torch.arange(10, dtype=torch.float64)
    batch = QuestionBatch(
        [question], [Candidates("v", torch.arange(10), times, 10.0)], torch.zeros(1, 10, 4),
        torch.ones(1, 10, dtype=torch.bool), times.float()[None], torch.zeros(1, 1, 4),
    )  # fmt: skip
    index = torch.tensor([[[2, 3, 9], [3, 0, -1]]])
    log_probs = torch.tensor([[[0.2, 0.3, 0.5], [0.7, 0.2, 0.1]]]).log()
    return Rollouts(batch, Selection(index, torch.zeros(1, 2, 3)), log_probs, [["blue", "The answer is (A)."]])


def test_values() -> None:
    assert Accuracy()(rollouts()).tolist() == [[1.0, 0.0]]
    torch.testing.assert_close(Probability()(rollouts()), torch.tensor([[0.5, 0.1]]))
    torch.testing.assert_close(TemporalLocating()(rollouts()), torch.tensor([[2 / 3, 0.5]]))
    assert Accuracy(by="text")(rollouts()).tolist() == [[1.0, 0.0]]
    assert Format(pattern="blue|red")(rollouts()).tolist() == [[1.0, 0.0]]


def test_nan_where_a_term_does_not_apply() -> None:
    unknown = rollouts(answer=None, evidence=())
    for reward in (Accuracy(), Probability(), TemporalLocating()):
        assert reward(unknown).isnan().all(), reward.name


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("C", 2), ("c", 2), ("C.", 2), ("C. a dog", 2), ("(C)", 2), ("Answer: C", 2), ("The answer is C.", 2),
        ("Best option: (B)", 1), ("<think>A or B? no.</think><answer>C</answer>", 2), ("blue", 2), ("Blue.", 2),
        ("A man throws it, so the answer is B", 1), ("A man throws it", None), ("", None), ("no idea", None),
        ("F", None), ("(H)", None), ("A", 0),
    ],
)  # fmt: skip
def test_parsing(text: str, expected: int | None) -> None:
    assert parse_option(text, ["red", "green", "blue"]) == expected


def test_an_answer_that_parses_to_nothing_is_wrong_never_random() -> None:
    mute = rollouts()
    mute.texts = [["hmm", ""]]
    assert Accuracy(by="text")(mute).tolist() == [[0.0, 0.0]]


def test_bad_pattern() -> None:
    with pytest.raises(ValueError, match="regular expression"):
        Format(pattern="(")


def test_format_default() -> None:
    good = rollouts()
    good.texts = [["<think>x\ny</think> <answer>A</answer>", "A"]]
    assert Format()(good).tolist() == [[1.0, 0.0]]
    assert not math.isnan(Format()(good).sum().item())
