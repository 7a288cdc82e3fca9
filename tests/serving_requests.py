"""What tests of serving ask."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RECIPE = str(ROOT / "recipes" / "serve.yaml")
QUESTION, OPTIONS = "What colour is the star?", ["red", "blue", "green", "white"]


def request_of(url: str | None, question: str = QUESTION, **more: Any) -> dict[str, Any]:
    """A request about a video; ``kairos`` and the protocol's own fields as keywords."""
    parts: list[dict[str, Any]] = [] if url is None else [{"type": "video_url", "video_url": {"url": url}}]
    content = [*parts, {"type": "text", "text": question}]
    return {"model": "kairos", "messages": [{"role": "user", "content": content}], **more}


def data_url(file: Path, kind: str = "video/mp4") -> str:
    return f"data:{kind};base64,{base64.b64encode(file.read_bytes()).decode()}"
