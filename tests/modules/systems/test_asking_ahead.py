"""A served model is asked about a question while the next one's frames are decoded; a question without an answer is
left out or ends the run, and is never wrong."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from chat_server import ChatServer

from modules.mllms.openai import OpenAIChat
from modules.records import Candidates, QuestionBatch, Rollouts, Selection, VideoQuestion
from modules.rewards.accuracy import Accuracy
from modules.rewards.probability import Probability
from modules.rl.advantages import GroupRelative
from modules.rl.reward_sum import RewardSum, RewardTerm
from modules.systems.answering import Answering

FRAMES = torch.stack([torch.full((3, 16, 16), 60 * n + 30, dtype=torch.uint8) for n in range(4)])


class Source:
    """Decodes one video after another, each in so many seconds; the video called ``bad`` cannot be decoded."""

    def __init__(self, decode_s: float = 0.0) -> None:
        self.decode_s, self.decoded_at_s = decode_s, list[float]()

    def decode_many(self, asked: list[tuple[Candidates, torch.Tensor]]) -> Iterator[torch.Tensor | None]:
        return (self.decode(*one) for one in asked)

    def decode(self, candidates: Candidates, candidate_index: torch.Tensor) -> torch.Tensor | None:
        time.sleep(self.decode_s)
        self.decoded_at_s.append(time.perf_counter())
        return None if candidates.video == "bad" else FRAMES[candidate_index]


def batch(*videos: str) -> tuple[QuestionBatch, Selection]:
    size = len(videos)
    questions = [VideoQuestion("d", "s", f"{v}{n}", v, 8.0, "Bright?", ("no", "yes"), 1) for n, v in enumerate(videos)]
    candidates = [Candidates(v, torch.arange(4), torch.arange(4.0), 8.0) for v in videos]
    whole = QuestionBatch(
        questions,
        candidates,
        torch.zeros(size, 4, 1),
        torch.ones(size, 4, dtype=torch.bool),
        torch.arange(4.0).repeat(size, 1),
        torch.zeros(size, 1, 1),
    )
    index = torch.tensor([[[0, 2], [1, 3]]]).repeat(size, 1, 1)
    return whole, Selection(index, torch.zeros(index.shape))


@pytest.fixture
def serve() -> Iterator[Callable[..., ChatServer]]:
    running: list[ChatServer] = []

    def start(**arguments: Any) -> ChatServer:
        running.append(ChatServer(**arguments))
        return running[-1]

    yield start
    for server in running:
        server.close()


def answering(server: ChatServer, **arguments: Any) -> Any:
    settings = {"model": "m", "base_url": server.url, "max_retries": 0, "timeout_s": 10.0, **arguments}
    return Answering(OpenAIChat(**settings), canary=False)


def refuse(server: ChatServer, *names: str) -> None:
    """Answers 400 to questions of these videos."""
    whole = server.play

    def play(handler: Any, fault: Any, body: dict[str, Any]) -> None:
        refused = any(name in str(body["messages"][-1]["content"][-1]) for name in names)
        whole(handler, "400" if refused else fault, body)

    server.play = play  # type: ignore[method-assign]


def named(whole: QuestionBatch) -> QuestionBatch:
    """With the video's name in the question."""
    for n, question in enumerate(whole.questions):
        whole.questions[n] = VideoQuestion(
            "d", "s", question.sample_id, question.video, 8.0, question.video, ("no", "yes"), 1
        )
    return whole


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])  # of training, and of an evaluation
def test_answers_are_those_of_one_question_after_another(serve, mode) -> None:
    server = serve()
    whole, selection = batch("a", "bad", "c")
    with mode():
        found = answering(server).answer(Source(), whole, selection, text=True)
    assert found.undecoded == (1,)
    assert found.option_log_probs[1].isneginf().all()
    expected = torch.tensor([30 / 255, 90 / 255]) / 0.99
    for b in (0, 2):
        torch.testing.assert_close(found.option_log_probs[b, :, 1].exp(), expected, atol=0.02, rtol=0)
    assert found.texts == [["A", "A"], ["", ""], ["A", "A"]]
    assert len(server.requests) == 8  # what nobody saw is not asked


def test_the_first_question_is_asked_before_the_last_is_decoded(serve) -> None:
    server = serve(delay_s=0.01)
    first_asked_s = []
    whole = server.reply
    server.reply = lambda body: (first_asked_s.append(time.perf_counter()), whole(body))[1]
    source = Source(decode_s=0.15)
    answering(server).answer(source, *batch("a", "b", "c", "d"))
    assert first_asked_s[0] < source.decoded_at_s[-1]


def test_a_question_without_an_answer_ends_the_run_by_name(serve) -> None:
    server = serve()
    refuse(server, "sick")
    whole, selection = batch("a", "sick", "c")
    with pytest.raises(ConnectionError, match="sick1"):
        answering(server).answer(Source(), named(whole), selection)


def test_or_is_left_out_and_nothing_is_learnt_from_it(serve, caplog) -> None:
    server = serve()
    refuse(server, "sick")
    whole, selection = batch("a", "sick", "c")
    ask = answering(server)
    found: Rollouts = ask.answer(Source(), named(whole), selection, leave_out=True)
    assert found.unanswered == (1,)
    assert "question sick1 is left out" in caplog.text
    assert ask.mllm.shortfalls()["questions got no answer of m and were left out"] >= 1
    rewards = RewardSum({"p": RewardTerm(reward=Probability())}, joint=False).score(found, torch.device("cpu"))
    assert rewards.sampler[1].isnan().all()
    assert rewards.sampler[[0, 2]].isfinite().all()
    advantages = GroupRelative()(found, rewards.sampler)
    assert advantages[1].tolist() == [0.0, 0.0]
    assert advantages[0].abs().min() > 0


def test_accuracy_of_a_question_that_is_left_out_is_not_zero(serve) -> None:
    server = serve()
    refuse(server, "sick")
    whole, selection = batch("sick", "b")
    found = answering(server).answer(Source(), named(whole), selection, leave_out=True)
    rewards = RewardSum({"right": RewardTerm(reward=Accuracy())}, joint=False).score(found, torch.device("cpu"))
    assert rewards.sampler[0].isnan().all()


def test_a_server_that_answers_nobody_ends_the_run_all_the_same(serve) -> None:
    server = serve()
    refuse(server, "sick")
    whole, selection = batch(*["sick"] * 20)
    with pytest.raises(ConnectionError, match="17 questions in a row"):
        answering(server).answer(Source(), named(whole), selection, leave_out=True)


def test_a_server_that_is_away_is_no_question_to_leave_out(serve) -> None:
    server = serve()
    server.close()
    whole, selection = batch("a")
    with pytest.raises(ConnectionError, match=r"127\.0\.0\.1"):
        answering(server).answer(Source(), whole, selection, leave_out=True)
