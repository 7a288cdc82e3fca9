"""What a client gets: the protocol's own fields, where was looked, and the same answers as anywhere else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import openai
import pytest
from serving_requests import OPTIONS, QUESTION, data_url, request_of
from starlette.testclient import TestClient

import kairos
from recipes.serving.server import Server


def asked(client: TestClient, body: dict[str, Any], path: str = "/v1/chat/completions") -> dict[str, Any]:
    reply = client.post(path, json=body)
    assert reply.status_code == 200, reply.text
    return reply.json()


def test_an_answer_is_the_one_of_the_python_interface(client: TestClient, server: Server, video_root: Path) -> None:
    found = asked(client, request_of("a.mp4", kairos={"options": OPTIONS, "num_frames": 4}))
    other = kairos.Loaded(server.systems.parts, "the same models", "sampler")
    expected = other.ask(video_root / "a.mp4", QUESTION, OPTIONS, k=4)
    assert found["choices"][0]["message"]["content"] == expected.text
    assert {o["text"]: o["probability"] for o in found["kairos"]["options"]} == pytest.approx(
        expected.options, abs=1e-5
    )
    assert [frame["time_s"] for frame in found["kairos"]["looked_at"]] == list(expected.timestamps_s)
    assert found["kairos"]["cost"]["frames_shown"] == 4
    assert found["kairos"]["cost"]["frames_decoded"] == expected.cost.frames_decoded
    assert found["kairos"]["system"] == "sampler"
    assert found["usage"]["prompt_tokens"] > 0


def test_the_official_client_works_unchanged(client: TestClient) -> None:
    official = openai.OpenAI(base_url="http://127.0.0.1/v1", api_key="none", http_client=client, max_retries=0)
    assert [model.id for model in official.models.list()] == ["sampler", "uniform", "blind"]
    messages: Any = request_of("a.mp4")["messages"]
    whole = official.chat.completions.create(
        model="sampler", messages=messages, extra_body={"kairos": {"options": OPTIONS, "num_frames": 2}}
    )
    assert whole.choices[0].message.content in OPTIONS
    assert len(whole.kairos["looked_at"]) == 2  # type: ignore[attr-defined]
    stream = official.chat.completions.create(
        model="sampler",
        messages=messages,
        stream=True,
        stream_options={"include_usage": True},
        extra_body={"kairos": {"options": OPTIONS, "num_frames": 2}},
    )
    chunks = list(stream)
    pieces = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert "".join(pieces) == whole.choices[0].message.content
    assert chunks[-1].usage == whole.usage
    own = next(chunk.kairos for chunk in chunks if getattr(chunk, "kairos", None))  # type: ignore[attr-defined]
    assert own["looked_at"] == whole.kairos["looked_at"]  # type: ignore[attr-defined]
    with pytest.raises(openai.NotFoundError, match="no model 'gpt'"):
        official.chat.completions.create(model="gpt", messages=messages)
    with pytest.raises(openai.BadRequestError, match="temperature"):
        official.chat.completions.create(model="sampler", messages=messages, extra_body={"kairos": {"temperature": 1}})


def test_options_in_the_question_are_answered_by_letter(client: TestClient) -> None:
    text = f"{QUESTION}\nA. red\nB. blue\nAnswer with the option's letter from the given choices directly."
    found = asked(client, request_of("a.mp4", text))
    assert found["choices"][0]["message"]["content"] in ("A. red", "B. blue")
    assert [option["text"] for option in found["kairos"]["options"]] == ["red", "blue"]


def test_without_options_it_answers_in_words(client: TestClient) -> None:
    found = asked(client, request_of("a.mp4", max_tokens=3))
    assert found["choices"][0]["message"]["content"]
    assert 1 <= found["usage"]["completion_tokens"] <= 3
    assert found["kairos"]["options"] == []


def test_what_has_no_effect_is_named(client: TestClient) -> None:
    body = request_of("a.mp4", temperature=0.7, top_p=1, seed=3, user="me", kairos={"options": OPTIONS})
    body["messages"].insert(0, {"role": "system", "content": "Be brief."})
    assert asked(client, body)["kairos"]["without_effect"] == ["temperature", "seed", "messages.0"]


def test_where_it_would_look_without_an_answer(client: TestClient) -> None:
    body = request_of("a.mp4", kairos={"num_frames": 3, "thumbnails": True, "all_scores": True})
    found = asked(client, body, "/v1/select")
    assert len(found["looked_at"]) == len(found["thumbnails"]) == 3
    assert "cost" not in found
    scores = dict(zip(found["candidates"]["times_s"], found["candidates"]["scores"], strict=True))
    assert len(scores) == found["video"]["candidates"] == 100
    for frame, picture in zip(found["looked_at"], found["thumbnails"], strict=True):
        assert scores[frame["time_s"]] == pytest.approx(frame["score"], abs=1e-5)
        assert picture["time_s"] == frame["time_s"]
        assert picture["url"].startswith("data:image/jpeg;base64,/9j/")
    assert {frame["rank"] for frame in found["looked_at"]} == {0, 1, 2}


def test_a_video_of_fewer_frames_than_asked_for_gives_all_of_them(client: TestClient) -> None:
    found = asked(client, request_of("a.mp4", kairos={"num_frames": 8, "at_s": 2.0, "options": OPTIONS}))
    assert [frame["time_s"] for frame in found["kairos"]["looked_at"]] == [0.0, 1.0, 2.0]
    assert "fewer than the 8 that were asked for" in found["kairos"]["notes"][0]


def test_every_system_has_a_name(client: TestClient) -> None:
    blind = asked(client, {**request_of("a.mp4", kairos={"options": OPTIONS}), "model": "blind"})["kairos"]
    assert blind["looked_at"] is None
    assert blind["cost"]["frames_shown"] == 0
    uniform = asked(client, {**request_of("a.mp4", kairos={"num_frames": 4}), "model": "uniform"}, "/v1/select")
    gaps = [b["time_s"] - a["time_s"] for a, b in zip(uniform["looked_at"], uniform["looked_at"][1:], strict=False)]
    assert max(gaps) - min(gaps) <= 1.0
    assert uniform["looked_at"][0]["score"] is None


def test_equal_content_is_encoded_once_however_it_comes(client: TestClient, server: Server, video_root: Path) -> None:
    asked(client, request_of("a.mp4", kairos={"options": OPTIONS}))
    stored = sorted(server.systems.parts.data.store.root.rglob("*.safetensors"))
    assert stored
    for url in ("inner/b.mp4", "file:inner/b.mp4", data_url(video_root / "a.mp4")):
        asked(client, request_of(url, kairos={"options": OPTIONS}))
    assert sorted(server.systems.parts.data.store.root.rglob("*.safetensors")) == stored


def test_a_stream_is_made_of_events(client: TestClient) -> None:
    body = request_of("a.mp4", stream=True, kairos={"options": OPTIONS})
    with client.stream("POST", "/v1/chat/completions", json=body) as reply:
        assert reply.headers["content-type"].startswith("text/event-stream")
        lines = [line for line in reply.iter_lines() if line]
    assert lines[-1] == "data: [DONE]"
    chunks = [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks] == [None] * (len(chunks) - 1) + ["stop"]
    assert len({chunk["id"] for chunk in chunks}) == 1


def test_health_metrics_and_the_page(client: TestClient) -> None:
    assert client.get("/health").json() == {"status": "ok", "open": 0, "key": False, "body_mib": 2}
    text = client.get("/metrics").text
    assert 'kairos_requests_total{path="/health",status="200"} ' in text
    assert "kairos_questions_open 0" in text
    assert text.count("# TYPE") == text.count("# HELP")
    page = client.get("/")
    assert "<title>Kairos" in page.text
    assert "http://" not in page.text.replace("http://www.w3.org/2000/svg", "")  # nothing comes from elsewhere
    assert "https://" not in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert page.headers["x-content-type-options"] == "nosniff"
