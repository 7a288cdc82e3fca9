"""Whatever is wrong with a request is told in the protocol's form, with the right status and a sentence."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from serving_requests import OPTIONS, QUESTION, data_url, request_of
from starlette.testclient import TestClient

from recipes.serving.request_body import parsed
from recipes.serving.request_errors import RequestError
from recipes.serving.server import Server

CHAT, JSON = "/v1/chat/completions", {"Content-Type": "application/json"}


def refused(client: TestClient, body: Any, status: int, words: str, path: str = CHAT) -> dict[str, Any]:
    content = body if isinstance(body, (bytes, str)) else json.dumps(body)
    reply = client.post(path, content=content, headers=JSON)
    error = reply.json()["error"]
    assert (reply.status_code, set(error)) == (status, {"message", "type", "param", "code"}), reply.text
    assert words in error["message"], error
    return error


def video(url: str) -> dict[str, Any]:
    return {"type": "video_url", "video_url": {"url": url}}


def user(*parts: Any) -> dict[str, Any]:
    return {"model": "kairos", "messages": [{"role": "user", "content": list(parts)}]}


TEXT = {"type": "text", "text": QUESTION}
WRONG: dict[str, tuple[Any, int, str]] = {
    "no body": ("", 400, "no JSON"),
    "no object": ("[]", 400, "no JSON object"),
    "broken JSON": ('{"model": ', 400, "no JSON"),
    "no UTF-8": (b'{"a": "\xff\xfe\xfa"}', 400, "no JSON"),
    "NaN": ('{"temperature": NaN}', 400, "NaN is no number"),
    "infinity": ('{"temperature": -Infinity}', 400, "no number"),
    "a number too large": ('{"temperature": 1e999}', 400, "too large"),
    "thousands of digits": ('{"seed": ' + "9" * 5000 + "}", 400, "no JSON"),
    "deep lists": ('{"a": ' + "[" * 100_000 + "]" * 100_000 + "}", 400, "deep"),
    "rather deep objects": ('{"a": ' * 80 + "1" + "}" * 80, 400, "deep"),
    "no messages": ({"model": "kairos"}, 400, "messages"),
    "empty messages": ({"model": "kairos", "messages": []}, 400, "messages"),
    "messages of texts": ({"model": "kairos", "messages": ["hello"]}, 400, "messages.0"),
    "no content": ({"model": "kairos", "messages": [{"role": "user"}]}, 400, "messages.0.content"),
    "a number as content": (
        {"model": "kairos", "messages": [{"role": "user", "content": 3}]},
        400,
        "a text, or a list",
    ),
    "no video": (user(TEXT), 400, "here are none"),
    "two videos": (user(video("a.mp4"), video("a.mp4"), TEXT), 400, "here are 2"),
    "an image": (user({"type": "image_url", "image_url": {"url": "data:"}}, TEXT), 400, "'image_url'"),
    "no address": (user({"type": "video_url", "video_url": {}}, TEXT), 400, "video_url.url: a text"),
    "no question": (user(video("a.mp4")), 400, "there is no question"),
    "an empty question": (request_of("a.mp4", "  \n"), 400, "there is no question"),
    "only options": (request_of("a.mp4", "A. red\nB. blue"), 400, "no question before the options"),
    "a question of NULs": (request_of("a.mp4", "x" * 5000), 400, "5000 characters"),
    "half a character": (
        json.dumps(user(video("a.mp4"), {"type": "text", "text": "\ud800"})),
        400,
        "surrogate",
    ),
    "the last turn is the model's": (
        {"messages": [*request_of("a.mp4")["messages"], {"role": "assistant", "content": "red"}]},
        400,
        "a user asks",
    ),
    "unknown model": ({**request_of("a.mp4"), "model": "gpt-5"}, 404, "there are sampler, uniform, blind"),
    "a model that is a number": ({**request_of("a.mp4"), "model": 5}, 400, "model"),
    "one option": (request_of("a.mp4", kairos={"options": ["red"]}), 400, "no choice"),
    "twice the same option": (request_of("a.mp4", kairos={"options": ["red", "red"]}), 400, "differ"),
    "an empty option": (request_of("a.mp4", kairos={"options": ["red", " "]}), 400, "differ"),
    "too many options": (request_of("a.mp4", kairos={"options": list("abcdefghijkl")}), 400, "at most 10"),
    "options that are a text": (request_of("a.mp4", kairos={"options": "red, blue"}), 400, "kairos.options"),
    "a number as option": (request_of("a.mp4", kairos={"options": [1, 2]}), 400, "kairos.options.0"),
    "no frames": (request_of("a.mp4", kairos={"num_frames": 0}), 400, "kairos.num_frames"),
    "too many frames": (request_of("a.mp4", kairos={"num_frames": 65}), 400, "at most 64"),
    "frames as text": (request_of("a.mp4", kairos={"num_frames": "8"}), 400, "kairos.num_frames"),
    "true as a number": (request_of("a.mp4", kairos={"num_frames": True}), 400, "kairos.num_frames"),
    "an unknown key": (request_of("a.mp4", kairos={"num_frame": 8}), 400, "kairos.num_frame"),
    "before the video": (request_of("a.mp4", kairos={"at_s": -1}), 400, "kairos.at_s"),
    "stream as text": (request_of("a.mp4", stream="yes"), 400, "stream"),
    "several answers": (request_of("a.mp4", n=2), 400, "one answer"),
    "tools": (request_of("a.mp4", tools=[{"type": "function"}]), 400, "no tools"),
    "a template": (request_of("a.mp4", chat_template="{{ 1 }}"), 400, "never taken"),
    "no tokens": (request_of("a.mp4", max_tokens=0), 400, "max_tokens"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_request_is_refused_with_a_sentence(client: TestClient, case: str) -> None:
    refused(client, *WRONG[case])


def test_a_stream_that_is_refused_has_its_status(client: TestClient) -> None:
    refused(client, request_of("nothing.mp4", stream=True), 404, "there is no video 'nothing.mp4'")


def test_another_content_type_is_refused(client: TestClient) -> None:
    """A form on a stranger's page can send text, and cannot send JSON without asking first."""
    body = json.dumps(request_of("a.mp4"))
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""):
        assert client.post(CHAT, content=body, headers={"Content-Type": kind}).status_code == 415
    packed = {**JSON, "Content-Encoding": "gzip"}
    assert client.post(CHAT, content=body, headers=packed).status_code == 415
    assert (
        client.post(CHAT, content=body, headers={"Content-Type": "application/json; charset=utf-8"}).status_code == 200
    )


def test_a_body_that_is_too_large_is_refused_before_and_while_it_is_read(client: TestClient, server: Server) -> None:
    large = json.dumps(request_of(f"data:video/mp4;base64,{'A' * (3 << 20)}"))
    refused(client, large, 413, "and 2 are taken")
    reply = client.post(CHAT, content=iter([large[: 1 << 20].encode()] * 3), headers=JSON)  # without a length
    assert reply.status_code == 413
    assert server.bodies.num_bytes == 0
    with server.bodies.taking() as other, server.bodies.taking() as another:
        other.take(2 << 20)
        another.take((2 << 20) - 100)
        reply = client.post(CHAT, json=request_of("a.mp4"))
        assert (reply.status_code, reply.json()["error"]["code"]) == (429, "server_busy")
        assert int(reply.headers["retry-after"]) >= 1
    assert server.bodies.num_bytes == 0


def test_a_broken_video_is_named_without_its_place(client: TestClient, server: Server, video_root: Path) -> None:
    (video_root / "broken.mp4").write_bytes(b"no video at all" * 100)
    (video_root / "empty.mp4").write_bytes(b"")
    whole = (video_root / "a.mp4").read_bytes()
    (video_root / "cut.mp4").write_bytes(whole[: len(whole) // 3])
    (video_root / "list.mp4").write_text(f"#EXTM3U\n#EXTINF:1,\n{video_root / 'a.mp4'}\n#EXT-X-ENDLIST\n")
    for name in ("broken", "empty", "cut", "list"):
        error = refused(client, request_of(f"{name}.mp4", kairos={"options": OPTIONS}), 400, f"'{name}.mp4' cannot be")
        assert str(video_root) not in error["message"]
    sent = base64.b64encode(b"no video").decode()
    error = refused(client, request_of(f"data:video/mp4;base64,{sent}"), 400, "that was sent (video/mp4) cannot be")
    assert str(server.intake.shelf.folder) not in error["message"]


def test_unknown_routes_and_methods(client: TestClient) -> None:
    for method, path, status in (("GET", CHAT, 405), ("POST", "/v1/completions", 404), ("GET", "/../etc/passwd", 404)):
        reply = client.request(method, path)
        assert reply.status_code == status
        assert "/v1/chat/completions" in reply.json()["error"]["message"]


def test_limits_of_a_video_are_held(client: TestClient, server: Server, video_root: Path) -> None:
    import dataclasses

    with pytest.raises(RequestError, match="lasts 100 s"):
        server.systems.prepare(str(video_root / "a.mp4"), dataclasses.replace(server.settings.limits, duration_s=50.0))
    with pytest.raises(RequestError, match="200 frames, and at most 100"):
        server.systems.prepare(str(video_root / "a.mp4"), dataclasses.replace(server.settings.limits, video_frames=100))


def test_an_error_inside_tells_nothing_of_this_machine(client: TestClient, server: Server, monkeypatch: Any) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("secret place /root/x")

    monkeypatch.setattr(server.systems, "outcomes", broken)
    error = refused(client, request_of("a.mp4"), 500, "the server's log says why")
    assert error["type"] == "server_error"


def test_json_of_sixty_levels_is_read() -> None:
    assert parsed(b'{"a": ' + b"[" * 60 + b"]" * 60 + b"}")


def test_data_urls_are_read_strictly(client: TestClient, video_root: Path) -> None:
    whole = data_url(video_root / "a.mp4")
    for url, words in (
        (whole.replace(";base64", ""), "send data:video/mp4;base64"),
        (whole.replace("video/mp4", "text/html"), "send data:video/mp4;base64"),
        (whole[:-2] + "!!", "malformed"),
        ("data:video/mp4;base64,", "empty"),
        ("data:", "send data:"),
    ):
        refused(client, request_of(url), 400, words)
