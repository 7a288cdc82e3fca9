"""A served model against a local server, and against everything that can go wrong on the way."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from chat_server import ChatServer

from modules.mllms.base import FrameTokens, Row
from modules.mllms.canary import check_that_frames_matter
from modules.mllms.openai import OpenAIChat
from modules.mllms.prompt import Prompt
from modules.records import VideoQuestion

QUESTION = VideoQuestion("d", "s", "q7", "v", 60.0, "Is it bright?", ("no", "yes"), 1)


@pytest.fixture
def server() -> Iterator[ChatServer]:
    running = ChatServer()
    yield running
    running.close()


def mllm(server: ChatServer, **arguments) -> OpenAIChat:
    return OpenAIChat(**{"model": "m", "base_url": server.url, "max_retries": 2, "timeout_s": 10.0, **arguments})


def row(brightness: int, num_frames: int = 2) -> Row:
    frames = torch.full((num_frames, 3, 40, 60), brightness, dtype=torch.uint8)
    return Row(QUESTION, FrameTokens(frames, torch.arange(num_frames) * 7.5), torch.arange(num_frames))


def test_frames_go_as_images_after_their_times(server) -> None:
    mllm(server, image_side_px=30).score_rows([row(200)])
    content = server.requests[0]["messages"][-1]["content"]
    assert [c["type"] for c in content] == ["text", "image_url", "text", "image_url", "text"]
    assert [content[0]["text"], content[2]["text"]] == ["[0.0 s]", "[7.5 s]"]
    assert "A. no\nB. yes" in content[4]["text"]


def test_letters_spelt_in_two_ways_are_added_up(server) -> None:
    scores = mllm(server).score_rows([row(204), row(51)])
    p = scores.exp()
    assert p.sum(-1).tolist() == pytest.approx([1.0, 1.0])
    assert p[0, 1] == pytest.approx(0.8 / 0.99, abs=0.01)  # "B" and " B" against "A", without "The"
    assert p[1, 1] == pytest.approx(0.2 / 0.99, abs=0.01)


def test_the_text_is_read_where_there_are_no_probabilities() -> None:
    server = ChatServer(log_probs=False)
    with pytest.raises(ConnectionError, match="log_probs_from: answer"):
        mllm(server).score_rows([row(200)])
    reader = mllm(server, log_probs_from="answer")
    assert reader.score_rows([row(200), row(20)]).exp().tolist() == [[0.0, 1.0], [1.0, 0.0]]
    server.text = "I cannot say."
    assert torch.isinf(reader.score_rows([row(200)])).all()
    assert reader.num_unread == 1
    assert not reader.has_log_probs
    server.close()


@pytest.mark.parametrize("fault", ["500", "cut", "malformed", "empty"])
def test_faults_are_retried(server, fault: str) -> None:
    server.faults = [fault]
    assert mllm(server).score_rows([row(204)])[0, 1].exp() == pytest.approx(0.8, abs=0.02)
    assert len(server.requests) == 2


def test_a_slow_answer_is_given_up_and_asked_for_again(server) -> None:
    server.faults = ["slow"]
    assert mllm(server, timeout_s=0.5).score_rows([row(204)]).shape == (1, 2)
    assert len(server.requests) == 2


@pytest.mark.parametrize("fault", ["500", "cut", "malformed", "empty"])
def test_what_never_works_stops_with_server_and_question(server, fault: str) -> None:
    server.faults = [fault] * 20
    with pytest.raises(ConnectionError, match=r"127\.0\.0\.1.*q7"):
        mllm(server, max_retries=1).score_rows([row(204)])


def test_a_refused_request_is_not_repeated(server) -> None:
    server.faults = ["400"]
    with pytest.raises(ConnectionError, match="too many images"):
        mllm(server).score_rows([row(204)])
    assert len(server.requests) == 1


def test_requests_run_side_by_side_up_to_the_limit(server) -> None:
    server.faults = ["slow"] * 6
    texts = mllm(server, concurrency=3).generate([row(200)] * 6, 4).texts
    assert texts == ["B"] * 6
    assert server.most_at_once == 3


def test_it_answers_rollouts_but_is_never_trained(server) -> None:
    served = mllm(server)
    frames = torch.cat([row(20, 1).frames.tokens, row(230, 1).frames.tokens])
    tokens = FrameTokens(served.encode_frames(frames), torch.tensor([0.0, 1.0]))
    scores = served.score_options([QUESTION], [tokens], torch.tensor([[[0], [1], [0]]]))
    assert scores.argmax(-1).tolist() == [[0, 1, 0]]
    assert len(server.requests) == 2  # the repeated selection is asked once
    with pytest.raises(ValueError, match="cannot be trained"):
        served.log_probs([row(1)], [torch.tensor([1])])
    with pytest.raises(ValueError, match="asked for a letter"):
        mllm(server, prompt=Prompt(answer_with="words"))


def test_the_canary_sees_whether_images_arrive(server, monkeypatch) -> None:
    frames, times = row(30).frames.tokens, torch.tensor([0.0, 1.0])
    check_that_frames_matter(mllm(server), QUESTION, frames, 255 - frames, times)
    blind = mllm(server)
    monkeypatch.setattr(blind, "messages", lambda r, *_: [{"role": "user", "content": [{"type": "text", "text": "?"}]}])
    with pytest.raises(RuntimeError, match="not reaching the model"):
        check_that_frames_matter(blind, QUESTION, frames, 255 - frames, times)
