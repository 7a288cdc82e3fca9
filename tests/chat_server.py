"""A small server that speaks OpenAI's chat protocol on loopback, faults included."""

from __future__ import annotations

import base64
import io
import json
import math
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from PIL import Image, ImageStat

Fault = Callable[[BaseHTTPRequestHandler, dict[str, Any]], None]


class ChatServer:
    """Answers by the mean brightness of the first image, so that frames matter; ``faults`` are played one a request: by
    name, or a function of the connection and the reply that should have been."""

    def __init__(self, log_probs: bool = True) -> None:
        self.faults: list[str | Fault] = []
        self.requests: list[dict[str, Any]] = []
        self.log_probs, self.most_at_once, self._now = log_probs, 0, 0
        self.text: str | Callable[[dict[str, Any]], str] | None = None
        self._lock = threading.Lock()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: Any) -> None:
                pass

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with server._lock:
                    server.requests.append(body)
                    fault = server.faults.pop(0) if server.faults else ""
                    server._now += 1
                    server.most_at_once = max(server.most_at_once, server._now)
                try:
                    server.play(self, fault, body)
                finally:
                    with server._lock:
                        server._now -= 1

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}/v1"
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()

    def play(self, handler: BaseHTTPRequestHandler, fault: str | Fault, body: dict[str, Any]) -> None:
        if callable(fault):
            fault(handler, self.reply(body))
            return
        if fault == "cut":
            handler.connection.close()
            return
        if fault == "slow":
            time.sleep(1.5)
        payload = json.dumps(self.reply(body)).encode()
        status = 200
        if fault == "500":
            status, payload = 500, b'{"error": {"message": "out of memory"}}'
        elif fault == "400":
            status, payload = 400, b'{"error": {"message": "too many images"}}'
        elif fault == "malformed":
            payload = payload[:20]
        elif fault == "empty":
            payload = b'{"id": "x", "object": "chat.completion", "created": 0, "model": "m", "choices": []}'
        send(handler, payload, status)

    def reply(self, body: dict[str, Any]) -> dict[str, Any]:
        content = body["messages"][-1]["content"]
        images = [c["image_url"]["url"] for c in content if c["type"] == "image_url"]
        brightness = 0.5
        if images:
            raw = Image.open(io.BytesIO(base64.b64decode(images[0].partition(",")[2]))).convert("L")
            brightness = ImageStat.Stat(raw).mean[0] / 255
        p = min(max(brightness, 0.01), 0.97)
        text = self.text(body) if callable(self.text) else self.text
        text = text if text is not None else ("B" if p > 0.5 else "A")
        choice: dict[str, Any] = {
            "index": 0,
            "finish_reason": "stop",
            "message": {"role": "assistant", "content": text},
            "logprobs": None,
        }
        if body.get("logprobs") and self.log_probs:
            tops = [("B", p * 0.75), (" B", p * 0.25), ("A", 1 - p - 0.01), ("The", 0.01)]
            top = [{"token": t, "logprob": math.log(q), "bytes": None} for t, q in tops]
            choice["logprobs"] = {"content": [{**top[0], "top_logprobs": top}]}
        usage = {"prompt_tokens": 7 + len(images), "completion_tokens": 1, "total_tokens": 8 + len(images)}
        head = {"id": "x", "object": "chat.completion", "created": 0, "model": "m"}
        return {**head, "choices": [choice], "usage": usage}


def send(handler: BaseHTTPRequestHandler, payload: bytes, status: int = 200, **headers: str) -> None:
    """A whole answer; headers with _ for -."""
    handler.send_response(status)
    for name, value in ({"Content_Type": "application/json", "Content_Length": str(len(payload))} | headers).items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(payload)
