"""A small server that speaks OpenAI's chat protocol on loopback, faults included."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import math
import socket
import threading
import time
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from PIL import Image, ImageStat

Fault = Callable[[BaseHTTPRequestHandler, dict[str, Any]], None]


NEW_FIELDS = ("logprob_token_ids", "return_tokens_as_token_ids", "return_token_ids", "media_io_kwargs")
"""Of vLLM 0.32, beyond OpenAI's protocol."""

_ROUTES = (
    *("/pause", "/resume", "/collective_rpc", "/reset_prefix_cache", "/update_weight_version", "/get_world_size"),
    *("/init_weight_transfer_engine", "/start_weight_update", "/update_weights", "/finish_weight_update"),
)


class ChatServer:
    """Answers by the mean brightness of the first frame, so that frames matter; ``faults`` are played one a request: by
    name, or a function of the connection and the reply that should have been.

    Args:
        log_probs: gives some.
        fields: that it takes beyond the protocol, and says so in its description of itself; the others it ignores.
        tells_times: its model's prompt has the times of a video's frames in it.
        delay_s: before each answer.
        port: 0 takes any.
    """

    def __init__(
        self,
        log_probs: bool = True,
        fields: Sequence[str] = (),
        tells_times: bool = True,
        delay_s: float = 0.0,
        port: int = 0,
    ) -> None:
        self.faults: list[str | Fault] = []
        self.requests: list[dict[str, Any]] = []
        self.pages: list[str] = []
        self.routes: list[tuple[str, Any]] = []
        """What was posted to vLLM's routes for reinforcement learning, in order."""
        self.connections: set[Any] = set()
        self.encoded: set[str] = set()
        """Names of images that it has seen, or their content where they have none."""
        self.images_seen = 0
        self.fields, self.tells_times, self.delay_s = tuple(fields), tells_times, delay_s
        self.log_probs, self.most_at_once, self._now = log_probs, 0, 0
        self.text: str | Callable[[dict[str, Any]], str] | None = None
        self._lock = threading.Lock()
        self._open: list[socket.socket] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def setup(self) -> None:
                super().setup()
                server._open.append(self.connection)

            def log_message(self, *_: Any) -> None:
                pass

            def do_GET(self) -> None:
                server.pages.append(self.path)
                page = server.page(self.path)
                send(self, json.dumps(page).encode(), 404 if page is None else 200)

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if not self.path.startswith("/v1/"):
                    server.pages.append(self.path)
                    page = server.page(self.path, body)
                    send(self, json.dumps(page).encode(), 404 if page is None else 200)
                    return
                with server._lock:
                    server.requests.append(body)
                    server.connections.add(self.client_address)
                    fault = server.faults.pop(0) if server.faults else ""
                    server._now += 1
                    server.most_at_once = max(server.most_at_once, server._now)
                try:
                    server.play(self, fault, body)
                finally:
                    with server._lock:
                        server._now -= 1

        self._http = _Listener(("127.0.0.1", port), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}/v1"
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        """Ends it as if it were killed: connections and all."""
        self._http.shutdown()
        self._http.server_close()
        for connection in self._open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def play(self, handler: BaseHTTPRequestHandler, fault: str | Fault, body: dict[str, Any]) -> None:
        if callable(fault):
            handler.close_connection = True
            fault(handler, self.reply(body))
            return
        if fault == "cut":
            handler.close_connection = True
            return
        time.sleep(1.5 if fault == "slow" else self.delay_s)
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

    def page(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """A page of its own; None where it has none."""
        if not self.fields:
            return None
        if path == "/version":
            return {"version": "0.32.0"}
        if path == "/openapi.json":
            request = {"properties": {name: {} for name in ("messages", *self.fields)}}
            image = {"properties": {"image_url": {}, "uuid": {}}}
            return {"components": {"schemas": {"ChatCompletionRequest": request, "ImageParam": image}}}
        if path.split("?")[0] in _ROUTES:
            self.routes.append((path, body))
            return {"world_size": 2} if path == "/get_world_size" else {}
        if path == "/tokenize" and body is not None:
            return {"tokens": [ord(c) for c in body["prompt"]]}
        return None

    def frames(self, body: dict[str, Any]) -> tuple[list[bytes], str]:
        """JPEG of each frame, and their times as the model's prompt has them."""
        found, times = [], ""
        for part in body["messages"][-1]["content"]:
            if part["type"] == "image_url":
                found.append(base64.b64decode(part["image_url"]["url"].partition(",")[2]))
                with self._lock:
                    self.images_seen += 1
                    self.encoded.add(part.get("uuid", found[-1].hex()))
            if part["type"] == "video_url" and part["video_url"]["url"].startswith("data:video/jpeg"):
                found += [base64.b64decode(b) for b in part["video_url"]["url"].split(",")[1:]]
                said = body.get("media_io_kwargs", {}).get("video", {}) if "media_io_kwargs" in self.fields else {}
                ticks, fps = said.get("frames_indices", range(len(found))), said.get("fps", 1)
                found = found[: said.get("num_frames", 32)]
                times = "".join(f"<{tick / fps:.1f} seconds>" for tick in ticks) if self.tells_times else ""
        return found, times

    def reply(self, body: dict[str, Any]) -> dict[str, Any]:
        frames, times = self.frames(body)
        brightness = 0.5
        if frames:
            brightness = ImageStat.Stat(Image.open(io.BytesIO(frames[0])).convert("L")).mean[0] / 255
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
            if "logprob_token_ids" in self.fields and body.get("logprob_token_ids"):
                known = {ord("A"): 1 - p - 0.01, ord("B"): p * 0.75}
                tops = [(f"token_id:{i}", known.get(i, 1e-30)) for i in (ord("T"), *body["logprob_token_ids"])]
            top = [{"token": t, "logprob": math.log(q), "bytes": None} for t, q in tops]
            choice["logprobs"] = {"content": [{**top[0], "top_logprobs": top}]}
        if body.get("return_token_ids") and "return_token_ids" in self.fields:
            choice["token_ids"] = [ord(text[0]), 2]
            wanted = body.get("logprob_token_ids", []) if "logprob_token_ids" in self.fields else []
            beside = [{"token": f"token_id:{i}", "logprob": math.log(0.1), "bytes": None} for i in wanted]
            spoken = [{"token": t, "logprob": -0.5, "bytes": None, "top_logprobs": beside} for t in (text[0], "")]
            choice["logprobs"] = {"content": spoken}
        usage = {"prompt_tokens": 7 + len(frames) + len(times), "completion_tokens": 1, "total_tokens": 8 + len(frames)}
        head = {"id": "x", "object": "chat.completion", "created": 0, "model": "m"}
        return {**head, "choices": [choice], "usage": usage}


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256


def send(handler: BaseHTTPRequestHandler, payload: bytes, status: int = 200, **headers: str) -> None:
    """A whole answer; headers with _ for -."""
    handler.send_response(status)
    for name, value in ({"Content_Type": "application/json", "Content_Length": str(len(payload))} | headers).items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(payload)
