"""What a server can do beyond the protocol is found out once, used where it is there, and not where it is not."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from chat_server import NEW_FIELDS, ChatServer
from PIL import Image

from modules.mllms.base import FrameTokens, Row
from modules.mllms.openai import OpenAIChat
from modules.records import VideoQuestion

QUESTION = VideoQuestion("d", "s", "q7", "v", 60.0, "Is it bright?", ("no", "yes", "cannot say"), 1)
SET = FrameTokens(
    torch.stack([torch.full((3, 16, 24), 40 * n + 50, dtype=torch.uint8) for n in range(5)]),
    torch.tensor([0.0, 7.5, 20.25, 33.0, 59.999]),
)


@pytest.fixture
def serve() -> Iterator[Callable[..., ChatServer]]:
    running: list[ChatServer] = []

    def start(**arguments: Any) -> ChatServer:
        running.append(ChatServer(**{"fields": NEW_FIELDS, **arguments}))
        return running[-1]

    yield start
    for server in running:
        server.close()


def model(server: ChatServer, **arguments: Any) -> OpenAIChat:
    return OpenAIChat(**{"model": "m", "base_url": server.url, "max_retries": 1, "timeout_s": 10.0, **arguments})


def row(*index: int) -> Row:
    return Row(QUESTION, SET, torch.tensor(index))


def asked(server: ChatServer) -> list[dict[str, Any]]:
    """Requests about the question, without those that found out what the server can."""
    return [body for body in server.requests if "Is it bright" in str(body["messages"])]


def test_letters_are_asked_for_by_name(serve) -> None:
    server = serve()
    scores = model(server).score_rows([row(4), row(0, 1)]).exp()
    p = [(40 * n + 50) / 255 for n in (4, 0)]
    for r in (
        0,
        1,
    ):  # what the likeliest tokens would not have: " B" is no part of it, and the third letter has a score
        known = [1 - p[r] - 0.01, p[r] * 0.75, 1e-30]
        assert scores[r].tolist() == pytest.approx([k / sum(known) for k in known], abs=0.01)
    assert scores[:, 2].min() > 0
    assert all(body["logprob_token_ids"] == [65, 66, 67] and "top_logprobs" not in body for body in asked(server))


def test_without_the_field_the_likeliest_twenty_are_looked_through(serve) -> None:
    server = serve(fields=())
    scores = model(server).score_rows([row(4)])[0]
    assert scores[2].isinf()
    (body,) = asked(server)
    assert body["top_logprobs"] == 20
    assert "logprob_token_ids" not in body
    assert "media_io_kwargs" not in body


def test_each_thing_is_found_out_once(serve) -> None:
    server = serve()
    served = model(server)
    for _ in range(3):
        served.score_rows([row(0, 1), row(1, 2)])
    assert sorted(server.pages) == ["/openapi.json", *["/tokenize"] * 3, "/version"]
    assert len(server.requests) - len(asked(server)) == 2  # two grey videos


def test_a_server_that_leaves_letters_out_is_asked_in_the_old_way(serve, monkeypatch, caplog) -> None:
    server = serve()
    whole = server.reply

    def without_c(body: dict[str, Any]) -> dict[str, Any]:
        answer = whole(body)
        if body.get("logprob_token_ids"):
            answer["choices"][0]["logprobs"]["content"][0]["top_logprobs"].pop()
        return answer

    monkeypatch.setattr(server, "reply", without_c)
    served = model(server)
    assert served.score_rows([row(4)]).exp()[0, 1] == pytest.approx(210 / 255 / 0.99, abs=0.02)
    served.score_rows([row(3)])
    assert ["logprob_token_ids" in body for body in asked(server)] == [True, False, False]
    assert "left out letters" in caplog.text


def sent_video(body: dict[str, Any]) -> tuple[np.ndarray, dict[str, Any]]:
    (part,) = [c for c in body["messages"][-1]["content"] if c["type"] == "video_url"]
    pictures = part["video_url"]["url"].removeprefix("data:video/jpeg;base64,").split(",")
    frames = [np.array(Image.open(io.BytesIO(base64.b64decode(picture)))) for picture in pictures]
    return np.stack(frames), body["media_io_kwargs"]["video"]


def test_frames_go_as_a_video_with_their_true_times(serve) -> None:
    server = serve()
    model(server).score_rows([row(1, 2, 4)])
    (body,) = asked(server)
    frames, said = sent_video(body)
    assert frames[:, 0, 0, 0].tolist() == pytest.approx([90, 130, 210], abs=1)
    assert [tick / said["fps"] for tick in said["frames_indices"]] == pytest.approx([7.5, 20.25, 59.999])
    assert said["num_frames"] == 3  # vLLM keeps 32 otherwise, and says nothing
    assert said["total_num_frames"] == 60_000
    assert said["duration"] == pytest.approx(60)
    assert said["do_sample_frames"] is False


def test_a_frame_alone_is_given_twice(serve) -> None:
    server = serve()
    model(server).score_rows([row(2)])
    frames, said = sent_video(asked(server)[0])
    assert len(frames) == len(said["frames_indices"]) == said["num_frames"] == 2


@pytest.mark.parametrize("lacks", ["media_io_kwargs", "times", "video"])
def test_frames_go_as_images_where_a_video_would_lose_their_times(serve, lacks: str, monkeypatch) -> None:
    fields = [name for name in NEW_FIELDS if name != lacks]
    server = serve(fields=fields, tells_times=lacks != "times")
    if lacks == "video":
        server.faults = ["400"]  # what a model without videos gets
    model(server).score_rows([row(0, 3)])
    (body,) = asked(server)
    content = body["messages"][-1]["content"]
    assert [c["type"] for c in content] == ["text", "image_url", "text", "image_url", "text"]
    assert content[2]["text"] == "[33.0 s]"
    assert "media_io_kwargs" not in body


def test_a_recipe_may_say_which(serve) -> None:
    told = serve(tells_times=False)
    model(told, frames="video").score_rows([row(0, 3)])
    assert sent_video(told.requests[0])[1]["frames_indices"] == [0, 33_000]
    told = serve()
    model(told, frames="images").score_rows([row(0, 3)])
    assert "media_io_kwargs" not in told.requests[0]


def test_rollouts_share_what_the_server_made_of_a_frame(serve) -> None:
    server = serve()
    served = model(server, frames="images")
    rollouts = torch.tensor([[[0, 1, 2], [1, 2, 3], [0, 2, 4], [2, 3, 4]]])
    served.score_options([QUESTION], [SET], rollouts)
    assert server.images_seen == 12
    assert len(server.encoded) == 5
    again = FrameTokens(SET.tokens.clone(), SET.timestamps_s)
    served.score_options([QUESTION], [again], rollouts[:, :1])
    assert len(server.encoded) == 5  # the next step's too: a name is that of the content


def test_a_jpeg_is_made_once_whichever_rollouts_show_it(serve, monkeypatch) -> None:
    made = []
    save = Image.Image.save
    monkeypatch.setattr(Image.Image, "save", lambda self, *a, **k: (made.append(1), save(self, *a, **k))[1])
    server = serve(fields=())
    model(server).score_options([QUESTION], [SET], torch.tensor([[[0, 1], [1, 2], [0, 2], [0, 1]]]))
    assert len(made) == 3


def test_the_same_frames_at_other_times_have_another_name(serve) -> None:
    server = serve()
    served = model(server)
    later = FrameTokens(SET.tokens, SET.timestamps_s + 1)
    served.score_rows([row(0, 1), Row(QUESTION, later, torch.tensor([0, 1])), row(0, 1)])
    names = [body["messages"][-1]["content"][0]["uuid"] for body in asked(server)]
    assert len(set(names)) == 2


def test_letters_without_probability_are_minus_infinity(serve, monkeypatch) -> None:
    server = serve()
    whole = server.reply

    def cut_off(body: dict[str, Any]) -> dict[str, Any]:
        answer = whole(body)
        for entry in answer["choices"][0]["logprobs"]["content"][0]["top_logprobs"]:
            entry["logprob"] = -9999.0 if entry["token"] == "token_id:67" else math.log(0.5)
        return answer

    monkeypatch.setattr(server, "reply", cut_off)
    assert model(server).score_rows([row(0)])[0].exp().tolist() == pytest.approx([0.5, 0.5, 0.0])
