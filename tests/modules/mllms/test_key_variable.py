"""A served model's key goes to its server and nowhere else."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import torch

from modules.mllms.base import FrameTokens, Row
from modules.mllms.key_variable import KeyVariable
from modules.mllms.openai import OpenAIChat
from modules.records import VideoQuestion

SECRET = "sk-do-not-tell-0123456789"


class Echo(BaseHTTPRequestHandler):
    """Says in an error what it was told, the key included."""

    told: list[str] = []

    def log_message(self, *_: Any) -> None:
        pass

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.told.append(self.headers["Authorization"])
        body = json.dumps({"error": {"message": f"bad key {self.headers['Authorization']}"}}).encode()
        self.send_response(400, "Bad " + self.headers["Authorization"])
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def server() -> Iterator[str]:
    http = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    threading.Thread(target=http.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{http.server_port}/v1"
    http.shutdown()
    http.server_close()


@pytest.mark.parametrize(
    "name",
    [
        "AWS_SECRET_ACCESS_KEY",
        "HF_TOKEN",
        "HOME",
        "",
        "_API_KEY",
        "my_api_key",
        "A_API_KEY\n",
        "A_API_KEYS",
        "X API_KEY",
    ],
)
def test_other_variables_are_not_sent(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if name and "\n" not in name:
        monkeypatch.setenv(name, SECRET)
    with pytest.raises(ValueError, match="has to end in _API_KEY"):
        OpenAIChat(model="m", base_url="http://127.0.0.1:1/v1", api_key_variable=name)


def test_the_key_is_in_no_error_and_no_log(server: str, monkeypatch: pytest.MonkeyPatch, caplog) -> None:
    monkeypatch.setenv("STRANGE_API_KEY", SECRET)
    Echo.told.clear()
    mllm = OpenAIChat(model="m", base_url=server, api_key_variable=KeyVariable("STRANGE_API_KEY"), max_retries=0)
    question = VideoQuestion("d", "s", "q1", "v.mp4", 1.0, "What?", ("a", "b"), 0)
    frames = FrameTokens(torch.zeros(1, 3, 8, 8, dtype=torch.uint8), torch.zeros(1))
    with caplog.at_level(logging.WARNING), pytest.raises(Exception) as raised:  # noqa: PT011
        mllm.score_rows([Row(question, frames, torch.tensor([0]))])
    assert Echo.told == [f"Bearer {SECRET}"]
    assert SECRET not in str(raised.getrepr(style="long", chain=True))
    assert SECRET not in caplog.text
    assert SECRET not in json.dumps(mllm.describe(), default=str) + mllm.key
