"""`lightning serve` as a person starts it: what it says, how it stops, and what a client who leaves sets free."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from serving_process import ServingProcess, serving
from serving_requests import OPTIONS, RECIPE, ROOT, request_of
from trained_runs import trained_run

from datamodules.haystack.video_writing import write_video
from datamodules.haystack.world import World

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, short_video: Path) -> Path:
    folder = tmp_path_factory.mktemp("elsewhere")
    (folder / "videos").mkdir()
    (folder / "videos" / "a.mp4").write_bytes(short_video.read_bytes())
    write_video(folder / "videos" / "long.mp4", World(seed=9, duration_s=3000.0, event_duration_s=(2.0, 2.5)), "val", 0)
    return folder


@pytest.fixture(scope="module")
def running(place: Path) -> Iterator[ServingProcess]:
    """From another folder, with nothing but the folder of videos said."""
    with serving(["--video_root", "videos"], place) as process:
        yield process


def eventually(true: Callable[[], object], within_s: float = 60.0) -> None:
    deadline = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.05)


def test_the_banner_says_what_to_type_next_and_that_works(running: ServingProcess) -> None:
    address = running.address
    lines = dict(line.split(None, 1) for line in running.said.splitlines() if line.partition(" ")[0].isalpha())
    assert {"recipe", "address", "systems", "answers", "videos", "limits", "next"} <= set(lines)
    words = shlex.split(lines["next"].replace("FILE.mp4", "a.mp4"))
    assert words[0] == "curl"
    found = subprocess.run([*words, "--silent"], capture_output=True, text=True, check=True)
    assert '"looked_at"' in found.stdout, found.stdout
    assert httpx2.get(f"{address}/health").json()["status"] == "ok"


def test_the_official_client_over_a_socket(running: ServingProcess) -> None:
    official = openai.OpenAI(base_url=f"{running.address}/v1", api_key="none", max_retries=0)
    messages: Any = request_of("a.mp4")["messages"]
    for stream in (False, True):
        answer = official.chat.completions.create(
            model="sampler", messages=messages, stream=stream, extra_body={"kairos": {"options": OPTIONS}}
        )
        if stream:
            assert "".join(c.choices[0].delta.content or "" for c in answer if c.choices) in OPTIONS
        else:
            assert answer.choices[0].message.content in OPTIONS


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_who_leaves_ends_the_decoding(running: ServingProcess, place: Path, stream: bool) -> None:
    """The decoder of an hour's video is ended, and the next question is answered at once."""
    address = running.address
    httpx2.post(f"{address}/v1/chat/completions", json=request_of("a.mp4"), timeout=60)
    eventually(lambda: httpx2.get(f"{address}/health").json()["open"] == 0)
    before = set(running.children())
    (place / "videos" / f"new-{stream}.mp4").write_bytes(
        (place / "videos" / "long.mp4").read_bytes() + bytes(1 + stream)  # content that nobody has encoded
    )
    body = request_of(f"new-{stream}.mp4", stream=stream)
    with pytest.raises(httpx2.TimeoutException):
        httpx2.post(f"{address}/v1/chat/completions", json=body, timeout=httpx2.Timeout(1.5))
    eventually(lambda: httpx2.get(f"{address}/health").json()["open"] == 0, 10)
    eventually(lambda: not set(running.children()) - before, 10)
    assert "kairos_given_up_total 0" not in httpx2.get(f"{address}/metrics").text


def test_two_videos_at_once_and_a_connection_that_goes_on(running: ServingProcess) -> None:
    with httpx2.Client(base_url=running.address, timeout=120) as client:
        statuses: list[int] = []

        def ask(name: str) -> None:
            statuses.append(client.post("/v1/select", json=request_of(name)).status_code)

        threads = [threading.Thread(target=ask, args=(name,)) for name in ("a.mp4", "long.mp4", "a.mp4", "nothing.mp4")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(statuses) == [200, 200, 200, 404]
        assert client.post("/v1/select", content=b"{", headers={"Content-Type": "application/json"}).status_code == 400
        assert client.post("/v1/select", json=request_of("a.mp4")).status_code == 200  # on the same connection


@pytest.mark.parametrize("kind", [signal.SIGTERM, signal.SIGINT])
def test_a_server_that_is_told_to_stop_finishes_what_it_began(place: Path, kind: int) -> None:
    with serving(["--video_root", "videos", "--features", f"features-{kind}"], place) as process:
        address = process.address
        replies: list[httpx2.Response] = []

        def ask() -> None:
            body = request_of("long.mp4", kairos={"options": OPTIONS})
            replies.append(httpx2.post(f"{address}/v1/chat/completions", json=body, timeout=120))

        asking = threading.Thread(target=ask)
        asking.start()
        eventually(lambda: httpx2.get(f"{address}/health").json()["open"] == 1)
        assert process.stop(kind) == 0
        asking.join()
        assert replies[0].status_code == 200
        assert replies[0].json()["choices"][0]["message"]["content"] in OPTIONS
        assert process.said.rstrip().endswith("stopped     what was begun is finished")
        assert "Traceback" not in process.said
        with pytest.raises(httpx2.ConnectError):
            httpx2.get(f"{address}/health")


def test_what_was_sent_is_removed_at_the_end(place: Path, tmp_path: Path) -> None:
    from serving_requests import data_url

    with serving(["--video_root", "videos"], place, {"TMPDIR": str(tmp_path)}) as process:
        body = request_of(data_url(place / "videos" / "a.mp4"))
        assert httpx2.post(f"{process.address}/v1/select", json=body, timeout=60).status_code == 200
        assert list(tmp_path.glob("kairos-uploads-*/*"))
        process.stop()
    assert not list(tmp_path.glob("kairos-uploads-*"))


def test_a_trained_sampler_in_another_precision(place: Path) -> None:
    trained_run(place / "outputs/tspo/20260101-000000", "tspo")
    words = ["--checkpoint", "last:tspo", "--dtype", "bfloat16", "--video_root", "videos"]
    with serving(words, place) as process:
        body = request_of("a.mp4", kairos={"options": OPTIONS, "num_frames": 4})
        found = httpx2.post(f"{process.address}/v1/chat/completions", json=body, timeout=120).json()
        assert found["choices"][0]["message"]["content"] in OPTIONS
        assert len(found["kairos"]["looked_at"]) == 4
        assert sum(option["probability"] for option in found["kairos"]["options"]) == pytest.approx(1, abs=1e-3)


def test_other_addresses_want_a_key_and_ask_for_it(place: Path) -> None:
    refused = ServingProcess(["--host", "0.0.0.0"], place)
    assert refused.process.wait(300) == 1
    assert "set KAIROS_API_KEY" in refused.said
    assert "Traceback" not in refused.said
    with serving(
        ["--host", "0.0.0.0", "--video_root", "videos"], place, {"KAIROS_API_KEY": "secret-of-tests"}
    ) as process:
        address = process.address.replace("0.0.0.0", "127.0.0.1")
        assert httpx2.get(f"{address}/v1/models").status_code == 401
        right = {"Authorization": "Bearer secret-of-tests"}
        assert httpx2.get(f"{address}/v1/models", headers=right).status_code == 200
        assert "secret-of-tests" not in process.said


def test_what_is_typed_wrongly_is_one_sentence(place: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        process = ServingProcess(["--port", port], place)
        assert process.process.wait(300) == 1
    assert "cannot listen on 127.0.0.1" in process.said
    assert "Traceback" not in process.said
    command = [sys.executable, "-m", "recipes", "run", RECIPE]
    ran = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert ran.returncode == 1
    assert "lightning serve" in ran.stderr


def test_slow_and_broken_clients_keep_nobody_waiting(running: ServingProcess) -> None:
    host, port = running.address.removeprefix("http://").split(":")
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    slow = [socket.create_connection((host, int(port))) for _ in range(20)]
    for number, one in enumerate(slow):
        one.sendall(head + (b"Content-Length: 1000\r\n\r\n{" if number % 2 else b""))
    for garbage, refused in (
        (b"\0" * 100, b"400"),
        (b"GET " + b"/" * 200_000, b"400"),
        (head + b"Content-Length: -5\r\n\r\n", b"400"),
        (b"PRI * HTTP/2.0\r\n\r\n", b"403"),  # names no host
    ):
        with socket.create_connection((host, int(port))) as one:
            one.sendall(garbage)
            one.settimeout(10)
            with contextlib.suppress(ConnectionError, TimeoutError):
                assert one.recv(100)[:12] in (b"", b"HTTP/1.1 " + refused)
    assert httpx2.post(f"{running.address}/v1/select", json=request_of("a.mp4"), timeout=60).status_code == 200
    for one in slow:
        one.close()
    assert "Traceback" not in running.said
