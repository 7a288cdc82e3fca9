"""The sum of the reward's terms, by hand, and what their weights mean."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from evolution_settings import terms
from torch import Tensor

from modules.records import Candidates, QuestionBatch, Rollouts, Selection, VideoQuestion
from modules.rewards.accuracy import Accuracy
from modules.rewards.base import Reward
from modules.rewards.probability import Probability
from modules.rl.reward_sum import RewardSum, RewardTerm, weighted_sum

CPU = torch.device("cpu")


class Fixed(Reward):
    """Always the same scores."""

    def __init__(self, scores: list[list[float]]) -> None:
        self.scores = torch.tensor(scores)

    def __call__(self, rollouts: Rollouts) -> Tensor:
        return self.scores.clone()


def rollouts(num_questions: int = 2, num_rollouts: int = 3, undecoded: tuple[int, ...] = ()) -> Rollouts:
    question = VideoQuestion("d", "s", "q", "v", 8.0, "What?", ("red", "green"), 1)
    candidates = Candidates("v", torch.arange(4), torch.arange(4).double(), 4.0)
    zeros = torch.zeros(num_questions, 4)
    batch = QuestionBatch(
        [question] * num_questions, [candidates] * num_questions, zeros[..., None], zeros == 0, zeros, zeros[..., None]
    )
    index = torch.zeros(num_questions, num_rollouts, 1, dtype=torch.int64)
    return Rollouts(batch, Selection(index, torch.zeros(index.shape)), undecoded=undecoded)


def test_what_does_not_apply_is_left_out() -> None:
    scores = {"a": torch.tensor([[1.0, torch.nan, torch.nan]]), "b": torch.tensor([[2.0, 2.0, torch.nan]])}
    total = weighted_sum(scores, {"a": 1.0, "b": 0.5})
    torch.testing.assert_close(total, torch.tensor([[2.0, 1.0, torch.nan]]), equal_nan=True)


def test_sampler_and_mllm_have_weights_of_their_own() -> None:
    one, two = [[1.0, 0.0, 1.0]] * 2, [[0.0, 3.0, 3.0]] * 2
    both = {
        "one": RewardTerm(reward=Fixed(one), weight=2.0),
        "two": RewardTerm(reward=Fixed(two), weight=0.0, mllm_weight=0.5),
        "left out": None,
    }
    rewards = RewardSum(both, joint=False).score(rollouts(), CPU)
    assert rewards.terms.keys() == {"one", "two"}
    assert rewards.sampler.tolist() == [[2.0, 0.0, 2.0]] * 2
    assert rewards.mllm.tolist() == [[2.0, 1.5, 3.5]] * 2


def test_nobody_learns_from_frames_that_nobody_saw() -> None:
    fixed = RewardTerm(reward=Fixed([[1.0, 1.0, 1.0]] * 2))
    rewards = RewardSum({"fixed": fixed}, joint=False).score(rollouts(undecoded=(1,)), CPU)
    assert rewards.sampler[0].tolist() == [1.0, 1.0, 1.0]
    assert rewards.sampler[1].isnan().all()


def test_effective_weights_in_one_line() -> None:
    both = {
        "probability": RewardTerm(reward=Probability(), mllm_weight=0.0),
        "accuracy": RewardTerm(reward=Accuracy(), weight=0.0, mllm_weight=0.8),
    }
    assert str(RewardSum(both, joint=False)) == "probability 1, accuracy logged only"
    assert str(RewardSum(both, joint=True)) == "probability 1 (MLLM: logged only), accuracy logged only (MLLM: 0.8)"


def test_joint_training_has_answers_in_text() -> None:
    assert not RewardSum(terms(Accuracy()), joint=False).needs_text
    joint = RewardSum(terms(Accuracy()), joint=True)
    assert joint.needs_text
    assert not joint.needs_options


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ([[1.0]], r"'odd' returned \(1, 1\), expected \(B, G\) = \(2, 3\)"),
        ([[torch.inf] * 3] * 2, "'odd' is infinite"),
    ],
)
def test_scores_that_cannot_be(scores: list[list[float]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RewardSum({"odd": RewardTerm(reward=Fixed(scores))}, joint=False).score(rollouts(), CPU)


@pytest.mark.parametrize("joint", [False, True])
def test_weights_in_effect_are_said_and_logged(joint: bool) -> None:
    terms = {
        "accuracy": RewardTerm(reward=Accuracy(), weight=0.0, mllm_weight=1.0),
        "probability": RewardTerm(reward=Fixed([[0.0]]), weight=0.5),
    }
    rewards = RewardSum(terms, joint=joint)
    if joint:
        assert str(rewards) == "accuracy logged only (MLLM: 1), probability 0.5 (MLLM: 0.5)"
        assert rewards.weights()["reward_weight/accuracy_mllm"] == 1.0
    else:
        assert str(rewards) == "accuracy logged only, probability 0.5"
        assert rewards.weights() == {"reward_weight/accuracy": 0.0, "reward_weight/probability": 0.5}


class Picky(Reward):
    """Raises at one answer."""

    needs_text = True

    def __call__(self, rollouts: Rollouts) -> Tensor:
        assert rollouts.texts is not None
        return torch.tensor([[1.0 / (text != "nonsense") for text in texts] for texts in rollouts.texts])


def test_a_reward_that_raises_is_named_with_the_question_and_the_answer() -> None:
    given = rollouts(3)
    given.batch.questions = [dataclasses.replace(q, sample_id=f"q{n}") for n, q in enumerate(given.batch.questions)]
    given.texts = [["fine"] * 3, ["fine", "nonsense", "fine"], ["nonsense"] * 3]
    with pytest.raises(RuntimeError, match="reward 'picky' raised ZeroDivisionError") as error:
        RewardSum({"picky": RewardTerm(reward=Picky())}, joint=False).score(given, CPU)
    assert "on question {'sample_id': 'q1'" in str(error.value)
    assert str(error.value).endswith("answer 'nonsense'")
    assert isinstance(error.value.__cause__, ZeroDivisionError)
