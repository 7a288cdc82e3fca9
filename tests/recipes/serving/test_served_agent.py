"""An agent behind the protocol: its steps and its costs in the reply, its memories used again, and who leaves."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from serving_requests import OPTIONS, QUESTION, ROOT, data_url, request_of
from starlette.testclient import TestClient

from modules.records import VideoQuestion
from modules.roles.local_reasoner import LocalReasoner
from modules.roles.mllm_captioner import MLLMCaptioner
from recipes.launcher.answering_recipe import answering_recipe
from recipes.launcher.serve import with_serving_names
from recipes.serving.app import build_app
from recipes.serving.building import build_server, settings_of
from recipes.serving.question_work import QuestionWork
from recipes.serving.request_errors import RequestError
from recipes.serving.server import Server


@pytest.fixture(scope="module")
def server(video_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Server:
    folder = tmp_path_factory.mktemp("agent")
    keys = {
        "memories": str(folder / "memories"),
        "data.feature_dir": str(folder / "features"),
        "serve.video_root": str(video_root),
        "serve.device": "cpu",
    }
    recipe = answering_recipe(str(ROOT / "recipes" / "videolucy.yaml"), keys, [])
    return build_server(recipe, settings_of(recipe.serve))


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[TestClient]:
    with TestClient(build_app(server), base_url="http://127.0.0.1", raise_server_exceptions=False) as made:
        yield made


def asked(client: TestClient, url: str, question: str, model: str = "videolucy") -> dict[str, Any]:
    body = request_of(url, question, **{"model": model, "kairos": {"options": OPTIONS}})
    reply = client.post("/v1/chat/completions", json=body)
    assert reply.status_code == 200, reply.text
    return reply.json()["kairos"]


def test_its_steps_and_costs_are_told_and_its_memories_used_again(client: TestClient, video_root: Path) -> None:
    first = asked(client, "a.mp4", QUESTION)
    described = first["trace"][0]
    assert (described["action"], described["role"], described["reused"]) == ("describe", "captioner", 0)
    assert [start for start, _ in described["spans_s"]] == [0.0, 20.0, 40.0, 60.0, 80.0]
    assert first["trace"][-1]["action"] in ("answer", "forced answer")
    assert described["cost"]["frames_shown"] == 40
    assert first["cost"]["calls"] >= 5 + len([step for step in first["trace"] if step["role"] == "reasoner"])
    assert first["cost"]["seconds"]["caption"] > 0

    other = asked(client, data_url(video_root / "a.mp4"), "What letter is shown?")  # another question, another way
    assert other["trace"][0]["reused"] == 5
    assert other["cost"]["calls"] >= 5  # what an answer rests on is counted, whoever paid for it
    again = asked(client, "inner/b.mp4", QUESTION)
    assert [(s["action"], s["spans_s"], s["text"]) for s in again["trace"]] == [
        (s["action"], s["spans_s"], s["text"]) for s in first["trace"]
    ]
    assert all(step["reused"] == len(step["spans_s"]) for step in again["trace"] if step["role"] == "captioner")
    assert "caption" not in again["cost"]["seconds"]


def test_the_official_client_streams_it(client: TestClient) -> None:
    official = openai.OpenAI(base_url="http://127.0.0.1/v1", api_key="none", http_client=client, max_retries=0)
    names = [model.id for model in official.models.list()]
    assert names[:4] == ["videolucy", "coarse only", "random localization", "flat dump"]  # nobody knows the evidence
    messages: Any = request_of("a.mp4")["messages"]
    chunks = list(
        official.chat.completions.create(
            model="coarse only", messages=messages, stream=True, extra_body={"kairos": {"options": OPTIONS}}
        )
    )
    own = next(chunk.kairos for chunk in chunks if getattr(chunk, "kairos", None))  # type: ignore[attr-defined]
    assert own["system"] == "coarse only"
    assert [step["action"] for step in own["trace"]].count("describe again") == 0
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_who_leaves_between_two_steps_sets_it_free_and_what_was_described_is_kept(
    client: TestClient, server: Server, video_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    described, go_on, steps = threading.Event(), threading.Event(), list[str]()
    whole, writes = MLLMCaptioner.caption, LocalReasoner.write

    def held(self: MLLMCaptioner, requests: Any) -> Any:
        steps.append("describe")
        captions = whole(self, requests)
        described.set()
        assert go_on.wait(60)
        return captions

    def written(self: LocalReasoner, messages: Any) -> Any:
        steps.append("reason")
        return writes(self, messages)

    monkeypatch.setattr(MLLMCaptioner, "caption", held)
    monkeypatch.setattr(LocalReasoner, "write", written)
    works = [work_on(video_root / "a.mp4", question) for question in ("Who leaves?", "Who stays?")]
    for work in works:
        server.lanes.submit(work)
    assert described.wait(60)
    works[0].gone.set()
    go_on.set()
    error = works[0].outcome.exception(60)
    assert isinstance(error, RequestError)
    assert error.code == "gone"
    reply = works[1].outcome.result(60).reply
    assert reply is not None
    assert steps == ["describe", "reason"]  # the one who stays is answered from what was described for the other
    assert reply.trace[0].reused == 10


def work_on(video: Path, question: str) -> QuestionWork:
    asked = VideoQuestion("serve", "predict", "serve-0", str(video), 0.0, question, tuple(OPTIONS))
    return QuestionWork(
        kind="answer",
        system="flat dump",
        question=asked,
        video_name=video.name,
        num_frames=8,
        max_new_tokens=None,
        pictures=None,
        deadline=time.monotonic() + 120,
    )


def test_names_of_the_serving_section_are_known_whatever_is_served() -> None:
    words = ["--port", "0", "--video_root=videos", "--memories", "m", "--vars.memories", "n"]
    assert with_serving_names(words) == [
        *("--serve.port", "0", "--serve.video_root", "videos", "--memories", "m", "--vars.memories", "n"),
    ]
