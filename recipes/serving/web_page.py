"""The page for people: one file, which runs its own script and speaks to this server alone."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from pathlib import Path

from starlette.responses import HTMLResponse

_FILE = Path(__file__).parent / "page" / "index.html"


@cache
def _content() -> tuple[bytes, str]:
    """The page, and what it may do."""
    page = _FILE.read_bytes()
    hashes = {tag: " ".join(f"'sha256-{_digest(part)}'" for part in _inside(page, tag)) for tag in ("script", "style")}
    policy = (
        f"default-src 'none'; script-src {hashes['script']}; style-src {hashes['style']}; img-src data: blob:; "
        "media-src blob:; connect-src 'self'; form-action 'none'; frame-ancestors 'none'; base-uri 'none'"
    )
    return page, policy


def page_answer() -> HTMLResponse:
    """The page."""
    page, policy = _content()
    return HTMLResponse(page, headers={"Content-Security-Policy": policy, "Referrer-Policy": "no-referrer"})


def _inside(page: bytes, tag: str) -> list[bytes]:
    """What stands between the tags of that name."""
    parts = page.split(f"<{tag}>".encode())[1:]
    return [part.partition(f"</{tag}>".encode())[0] for part in parts]


def _digest(content: bytes) -> str:
    return base64.b64encode(hashlib.sha256(content).digest()).decode()
