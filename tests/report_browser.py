"""Reports in headless Chromium that hears every complaint of theirs and fetches nothing.

Needs Chromium and ``pip install -e ".[browser]"``, which brings a driver and no browser; without them tests
are skipped.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

playwright = pytest.importorskip("playwright.sync_api", reason="pip install -e '.[browser]'")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
MARKS = [pytest.mark.long, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")]
SIZES = {"desktop": (1280, 900), "phone": (390, 844)}
SHOWN = "article.card:not([hidden])"
_OFFLINE = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking", "--disable-sync"]


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser while the context lasts."""
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=CHROMIUM, args=_OFFLINE)
        yield started
        started.close()


@contextmanager
def opened(browser: Any, file: Path, size: tuple[int, int]) -> Iterator[Any]:
    """A page while the context lasts; at its end it must not have complained, nor asked the network for anything."""
    page = browser.new_page(viewport={"width": size[0], "height": size[1]})
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
    page.on("request", lambda asked: said.append(asked.url) if not asked.url.startswith(("file:", "data:")) else None)
    page.goto(file.as_uri())
    yield page
    page.close()
    assert said == []  # no error, no alert of a stranger's, nothing fetched


def count_shown(page: Any, every: int) -> int:
    """Questions that are shown, as the page says too."""
    shown: int = page.locator(SHOWN).count()
    assert page.locator("#count").inner_text() == f"{shown} of {every} questions"
    return shown


def widths(page: Any) -> tuple[int, int]:
    """Of all that there is, everything unfolded, and of the screen."""
    page.add_style_tag(content=".card { content-visibility: visible !important }")
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true })")
    width, screen = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    return width, screen
