"""The small server of the protocol's other side as three kinds of servers: with times beside a video of pictures (vLLM
from 2026-04 on), with the field but without a look at it (vLLM before that), and with images alone."""

from __future__ import annotations

import base64
import io
import json
from http.server import BaseHTTPRequestHandler
from typing import Any, Literal

from chat_server import ChatServer, send
from PIL import Image


class VideoChatServer(ChatServer):
    """Says back which frames it saw and when they were taken: ``{"form": ..., "times_s": [...], "sizes": [...]}``.

    Args:
        kind: ``reads times``, ``ignores times`` (takes the field and invents its own, one a second) or ``images only``.
    """

    def __init__(self, kind: Literal["reads times", "ignores times", "images only"]) -> None:
        super().__init__()
        self.kind = kind
        handler: Any = self._http.RequestHandlerClass
        handler.do_GET = lambda one: send(one, b'{"data": [{"id": "behind"}]}')

    def play(self, handler: BaseHTTPRequestHandler, fault: Any, body: dict[str, Any]) -> None:
        if fault:
            super().play(handler, fault, body)
            return
        parts = [p for m in body["messages"] if isinstance(m["content"], list) for p in m["content"]]
        videos = [p["video_url"]["url"] for p in parts if p["type"] == "video_url"]
        images = [p["image_url"]["url"] for p in parts if p["type"] == "image_url"]
        clock = body.get("media_io_kwargs", {}).get("video", {})
        if videos and self.kind == "images only":
            self._refuse(handler, "Unknown part type: video_url")
            return
        indices = clock.get("frames_indices")
        if videos and self.kind == "reads times" and indices and not all(isinstance(i, int) for i in indices):
            self._refuse(handler, "frames_indices must be a list of ints")
            return
        pictures = [p for url in videos for p in url.partition(",")[2].split(",")] or [u.split(",")[1] for u in images]
        if videos:
            pictures = pictures[: clock.get("num_frames", 32)]  # as vLLM does
        if videos and indices is not None and len(indices) != len(pictures):
            self._refuse(
                handler, f"frames_indices length ({len(indices)}) must match number of frames ({len(pictures)})"
            )
            return
        if videos:
            fps = clock["fps"] if self.kind == "reads times" else 1.0
            times = [i / fps for i in (indices if self.kind == "reads times" else range(len(pictures)))]
        else:
            texts = [p["text"] for p in parts if p["type"] == "text"]
            times = [float(text[1:-3]) for text in texts if text.startswith("[") and text.endswith(" s]")]
        sizes = [list(Image.open(io.BytesIO(base64.b64decode(p))).size) for p in pictures]
        text = json.dumps({"form": "video" if videos else "images", "times_s": times, "sizes": sizes})
        self._say(handler, body, text)

    def _refuse(self, handler: BaseHTTPRequestHandler, message: str) -> None:
        send(handler, json.dumps({"error": {"message": message, "code": 400}}).encode(), 400)

    def _say(self, handler: BaseHTTPRequestHandler, body: dict[str, Any], text: str) -> None:
        head = {"id": "x", "created": 0, "model": "behind"}
        if not body.get("stream"):
            choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
            reply = {**head, "object": "chat.completion", "choices": [choice], "usage": {"prompt_tokens": 3}}
            send(handler, json.dumps(reply).encode())
            return
        handler.send_response(200)
        handler.send_header("Content-Type", "text/event-stream")
        handler.send_header("Connection", "close")  # of no length that is known: it ends with the connection
        handler.end_headers()
        for piece in (text[:10], text[10:]):
            choice = {"index": 0, "delta": {"content": piece}, "finish_reason": None}
            chunk = {**head, "object": "chat.completion.chunk", "choices": [choice]}
            handler.wfile.write(f"data: {json.dumps(chunk)}\r\n\r\n".encode())
        handler.wfile.write(b"data: [DONE]\n\n")
