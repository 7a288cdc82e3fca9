"""A server behind this one gets the chosen frames with their true times, in whichever way it reads them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import openai
import pytest
from serving_requests import QUESTION, request_of
from starlette.testclient import TestClient
from video_chat_server import VideoChatServer

from recipes.serving.app import build_app
from recipes.serving.forwarding import Forwarding
from recipes.serving.server import Server
from recipes.serving.serving_settings import UpstreamSettings
from recipes.serving.upstream import Upstream
from recipes.serving.upstream_form import clock_of

CHAT = "/v1/chat/completions"
KINDS = {"reads times": "video", "ignores times": "images", "images only": "images"}


@contextmanager
def in_front_of(server: Server, behind: VideoChatServer, **settings: Any) -> Iterator[TestClient]:
    """The served systems, which choose frames for another server."""
    forwarding = Forwarding(Upstream(UpstreamSettings(url=behind.url, **settings), 10.0), server.metrics)
    front = Server(
        server.settings, server.systems, server.intake, server.access, forwarding=forwarding, metrics=server.metrics
    )
    front.close = front.lanes.close  # type: ignore[method-assign]  # the rest is the other server's
    try:
        with TestClient(build_app(front), base_url="http://127.0.0.1", raise_server_exceptions=False) as client:
            yield client
    finally:
        behind.close()


@pytest.mark.parametrize("kind", KINDS)
def test_every_server_is_told_the_true_times(server: Server, client: TestClient, kind: Any) -> None:
    looked = client.post("/v1/select", json=request_of("a.mp4", kairos={"num_frames": 5})).json()["looked_at"]
    behind = VideoChatServer(kind)
    with in_front_of(server, behind) as front:
        body = request_of("a.mp4", kairos={"num_frames": 5}, temperature=0.3, seed=1)
        found = front.post(CHAT, json=body).json()
        again = front.post(CHAT, json=body).json()
    seen = json.loads(found["choices"][0]["message"]["content"])
    assert seen["form"] == found["kairos"]["upstream"]["frames_as"] == KINDS[kind]
    assert seen["times_s"] == pytest.approx([frame["time_s"] for frame in looked], abs=0.05)
    assert seen["sizes"] == [[64, 64]] * 5
    assert found["kairos"]["looked_at"] == again["kairos"]["looked_at"] == looked
    assert found["kairos"]["upstream"]["frames"] == 5
    assert (found["model"], found["kairos"]["upstream"]["model"]) == ("kairos", "behind")
    assert len(behind.requests) == 3  # one asks how it reads frames
    sent = behind.requests[-1]
    assert (sent["temperature"], sent["seed"], sent["model"]) == (0.3, 1, "behind")
    assert "kairos" not in sent
    assert sent["messages"][0]["content"][-1] == {"type": "text", "text": QUESTION}


@pytest.mark.parametrize(("num_frames", "num_sent"), [(1, 2), (40, 40)])
def test_one_frame_and_more_than_vllm_keeps_by_default(server: Server, num_frames: int, num_sent: int) -> None:
    with in_front_of(server, VideoChatServer("reads times")) as front:
        found = front.post(CHAT, json=request_of("a.mp4", kairos={"num_frames": num_frames})).json()
    seen = json.loads(found["choices"][0]["message"]["content"])
    assert len(seen["times_s"]) == len(seen["sizes"]) == num_sent
    assert set(seen["times_s"]) == {frame["time_s"] for frame in found["kairos"]["looked_at"]}
    assert found["kairos"]["upstream"]["frames"] == num_frames


def test_the_way_can_be_said(server: Server) -> None:
    behind = VideoChatServer("reads times")
    with in_front_of(server, behind, send="images", model="mine", image_side_px=32) as front:
        found = front.post(CHAT, json=request_of("a.mp4", kairos={"options": ["red", "blue"]})).json()
    assert found["kairos"]["upstream"]["frames_as"] == "images"
    assert json.loads(found["choices"][0]["message"]["content"])["sizes"] == [[32, 32]] * 8
    assert len(behind.requests) == 1
    assert behind.requests[0]["model"] == "mine"
    assert behind.requests[0]["messages"][0]["content"][-1]["text"].startswith("A. red\nB. blue\nAnswer with")


def test_pieces_are_passed_on_as_they_come(server: Server) -> None:
    behind = VideoChatServer("reads times")
    with in_front_of(server, behind) as front:
        official = openai.OpenAI(base_url="http://127.0.0.1/v1", api_key="none", http_client=front, max_retries=0)
        messages: Any = request_of("a.mp4")["messages"]
        chunks = list(official.chat.completions.create(model="sampler", messages=messages, stream=True))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert json.loads(text)["form"] == "video"
    assert chunks[-1].kairos["upstream"]["frames"] == 8  # type: ignore[attr-defined]
    assert {chunk.model for chunk in chunks} == {"sampler"}


@pytest.mark.parametrize(
    ("fault", "status", "words"),
    [
        ("500", 502, "refused (status 500)"),
        ("400", 400, "too many images"),
        ("malformed", 502, "no usable answer"),
        ("empty", 502, "no usable answer"),
        ("cut", 502, "no usable answer"),
    ],
)
def test_what_goes_wrong_there_is_said(server: Server, fault: str, status: int, words: str) -> None:
    behind = VideoChatServer("images only")
    with in_front_of(server, behind, send="images") as front:
        behind.faults = [fault]
        reply = front.post(CHAT, json=request_of("a.mp4"))
        assert reply.status_code == status, reply.text
        assert words in reply.json()["error"]["message"]
        assert front.post(CHAT, json=request_of("a.mp4")).status_code == 200  # the next one is answered


def test_a_server_that_is_not_there_and_a_system_without_frames(server: Server) -> None:
    behind = VideoChatServer("images only")
    with in_front_of(server, behind) as front:
        behind.close()
        reply = front.post(CHAT, json=request_of("a.mp4"))
        assert (reply.status_code, reply.json()["error"]["code"]) == (502, "upstream")
        reply = front.post(CHAT, json={**request_of("a.mp4"), "model": "blind"})
        assert reply.status_code == 400
        assert "chooses no frames" in reply.json()["error"]["message"]
        assert front.post(CHAT, json=request_of("a.mp4", chat_template="{{ x }}")).status_code == 400


def test_its_key_is_sent_and_never_told(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BEHIND_API_KEY", "the-secret-of-the-server-behind")
    behind, seen = VideoChatServer("images only"), []

    def repeats(handler: Any, _: Any) -> None:
        seen.append(handler.headers["Authorization"])
        content = b'{"error": "no such key: the-secret-of-the-server-behind"}'
        handler.send_response(401)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)

    behind.faults = [repeats]
    with in_front_of(server, behind, send="images", key_variable="BEHIND_API_KEY") as front:
        reply = front.post(CHAT, json=request_of("a.mp4"), headers={"Authorization": "Bearer of-the-client"})
    assert seen == ["Bearer the-secret-of-the-server-behind"]
    assert reply.status_code == 502
    assert "secret" not in reply.text


def test_a_clock_tells_all_frames_apart() -> None:
    even = clock_of([0.0, 0.5, 12.0], 100.0, 2.0)
    assert (even["fps"], even["frames_indices"], even["total_num_frames"]) == (2.0, [0, 1, 24], 200)
    assert even["num_frames"] == 3
    uneven = clock_of([0.0, 0.33, 0.4, 7.123], 10.0, 2.0)  # of a file whose rate changes
    assert [i / uneven["fps"] for i in uneven["frames_indices"]] == pytest.approx([0.0, 0.33, 0.4, 7.123], abs=5e-4)
    assert len(set(uneven["frames_indices"])) == 4
    assert clock_of([0.0], 0.0, 0.0)["total_num_frames"] >= 1
    assert all(not clock["do_sample_frames"] for clock in (even, uneven))
