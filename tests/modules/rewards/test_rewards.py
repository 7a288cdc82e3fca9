"""Reward terms on rollouts made by hand."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch

from modules.methods.msjoe.query_information import QueryInformation
from modules.records import Candidates, QuestionBatch, Rollouts, Selection, VideoQuestion
from modules.rewards.accuracy import Accuracy
from modules.rewards.format import Format
from modules.rewards.margin import Margin, margin_of
from modules.rewards.probability import Probability
from modules.rewards.temporal import TemporalLocating


def rollouts(options=("red", "green", "blue"), answer: int | None = 2, evidence=((2.0, 4.0),)) -> Rollouts:
    question = VideoQuestion("d", "s", "q", "v", 10.0, "?", options, answer, evidence)
    times = torch.arange(10, dtype=torch.float64)
    batch = QuestionBatch(
        [question],
        [Candidates("v", torch.arange(10), times, 10.0)],
        torch.zeros(1, 10, 4),
        torch.ones(1, 10, dtype=torch.bool),
        times.float()[None],
        torch.zeros(1, 1, 4),
    )
    index = torch.tensor([[[2, 3, 9], [3, 0, -1]]])
    log_probs = torch.tensor([[[0.2, 0.3, 0.5], [0.7, 0.2, 0.1]]]).log()
    return Rollouts(batch, Selection(index, torch.zeros(1, 2, 3)), log_probs, [["blue", "The answer is (A)."]])


def test_values() -> None:
    assert Accuracy()(rollouts()).tolist() == [[1.0, 0.0]]
    torch.testing.assert_close(Probability()(rollouts()), torch.tensor([[0.5, 0.1]]))
    # ln(0.5 / 0.3) and ln(0.1 / 0.7) are the differences of the logits: tanh(ln(a / b) / 2) = (a - b) / (a + b)
    torch.testing.assert_close(Margin()(rollouts()), torch.tensor([[0.2 / 0.8, -0.6 / 0.8]]))
    torch.testing.assert_close(Margin(of="probabilities")(rollouts()), torch.tensor([[0.2, -0.6]]))
    torch.testing.assert_close(TemporalLocating()(rollouts()), torch.tensor([[2 / 3, 0.5]]))
    assert Accuracy(by="text")(rollouts()).tolist() == [[1.0, 0.0]]
    assert Format(pattern="blue|red")(rollouts()).tolist() == [[1.0, 0.0]]


def test_margins_are_of_the_options_that_are_there() -> None:
    absent = -torch.inf
    scores = torch.tensor([[0.2, 0.3, absent], [absent, 0.0, absent], [absent, absent, absent], [0.0, absent, absent]])
    answers = torch.tensor([1, 0, 0, 0])
    expected = torch.tensor([math.tanh(0.05), -1.0, -1.0, 1.0])
    torch.testing.assert_close(margin_of(scores, answers), expected)
    shifted = margin_of(scores + 5.0, answers)  # logits or their log-softmax: only differences count
    torch.testing.assert_close(shifted, expected)


def test_nan_where_a_term_does_not_apply() -> None:
    unknown = rollouts(answer=None, evidence=())
    for reward in (Accuracy(), Probability(), TemporalLocating(), Margin()):
        assert reward(unknown).isnan().all(), reward.name


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


def searched(queries: list[list[list[str]]], features: torch.Tensor, query_features: torch.Tensor) -> SimpleNamespace:
    mask = torch.ones(features.shape[:2], dtype=torch.bool)
    batch = SimpleNamespace(features=features, mask=mask)
    return SimpleNamespace(queries=queries, query_features=query_features, batch=batch)


def test_query_information_is_the_share_of_peaked_queries() -> None:
    features = torch.tensor([[[1.0, 0.0], [0.1, 1.0], [0.05, 1.0]]])  # one frame is unlike the others
    peaked, flat = torch.tensor([1.0, 0.0]), torch.tensor([1.0, 1.0])
    reward = QueryInformation(measure="ratio", threshold=10.0)
    both = torch.stack([peaked, flat])
    found = reward(searched([[["a", "b"], ["a"], []]], features, torch.stack([both, both, both])[None]))
    # cosines of the first query: 1, 0.0995, 0.0499, so 20 > 10; of the second: 0.71, 0.77, 0.74
    torch.testing.assert_close(found, torch.tensor([[0.5, 1.0, 0.0]]))


def test_query_information_survives_cosines_around_zero_and_padding() -> None:
    features = torch.tensor([[[1.0, 0.0], [-1.0, 0.0], [0.0, 0.0]]])
    queries = torch.tensor([[[[1.0, 0.0]]]])
    mask = torch.tensor([[True, True, False]])
    assert QueryInformation(measure="ratio").peakedness(features, mask, queries).item() == pytest.approx(100.0)
    contrast = QueryInformation(measure="contrast").peakedness(features, mask, queries)
    assert contrast.item() == pytest.approx(1.0)  # (1 - 0) / 1
    with pytest.raises(ValueError, match=r"model\.query_writer"):
        QueryInformation()(SimpleNamespace(queries=None, query_features=None))


def test_format_wants_both_turns() -> None:
    good = "<think>t</think><answer>A</answer>"
    rollouts = SimpleNamespace(texts=[[good, good, "A"]], queries=[[["a"], [], ["a"]]])
    assert Format()(rollouts).tolist() == [[1.0, 0.0, 0.0]]
    rollouts.queries = None
    assert Format()(rollouts).tolist() == [[1.0, 1.0, 0.0]]


def test_accuracy_reads_what_was_drawn_where_answers_are() -> None:
    reward = Accuracy()
    assert (reward.needs_text, reward.needs_options) == (False, True)
    reward.answers_are_drawn()
    assert (reward.needs_text, reward.needs_options) == (True, False)
    told = Accuracy(by="options")
    told.answers_are_drawn()
    assert told.needs_options
