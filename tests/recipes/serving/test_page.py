"""The page for people, in a real browser: a video is chosen, a question asked, and what came of it is seen."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import browser, missing
from PIL import Image
from serving_process import ServingProcess, serving

pytestmark = [pytest.mark.long, pytest.mark.skipif(missing() is not None, reason=str(missing()))]
SIZES = {"desktop": (1280, 900), "phone": (390, 844)}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, short_video: Path) -> Iterator[ServingProcess]:
    folder = tmp_path_factory.mktemp("page")
    (folder / "videos").mkdir()
    (folder / "videos" / "a.mp4").write_bytes(short_video.read_bytes())
    with serving(["--video_root", "videos"], folder) as process:
        _ = process.address
        yield process


@pytest.mark.parametrize("size", SIZES)
def test_a_video_is_chosen_and_asked_about(
    running: ServingProcess, short_video: Path, tmp_path: Path, size: str
) -> None:
    """Screenshots go to the folder that KAIROS_SCREENSHOTS names, where it names one."""
    folder = Path(os.environ.get("KAIROS_SCREENSHOTS", tmp_path))
    with browser(*SIZES[size]) as window:
        window.go(running.address)
        assert window.until("document.querySelectorAll('#system option').length") == 3
        window.click("#go")  # without a question the browser itself refuses
        assert window.run("return document.getElementById('result').hidden")
        window.type("#question", "What colour is the star?")
        window.click("#go")
        assert "Which video?" in window.until("document.getElementById('status').textContent")
        window.type("#file", str(short_video))
        window.type("#options", "red, green, blue, white")
        window.type("#number", "6")
        window.click("#go")
        window.until("!document.getElementById('result').hidden")
        assert window.run("return document.getElementById('answer').textContent") in ("red", "green", "blue", "white")
        assert window.run("return document.querySelectorAll('#shares .bar').length") == 4
        assert window.run("return document.querySelectorAll('#timeline .mark').length") == 6
        assert window.run("return document.querySelectorAll('#timeline .score').length") == 1
        assert window.run("return document.querySelectorAll('#frames img').length") == 6
        assert window.until("[...document.querySelectorAll('#frames img')].every((i) => i.complete && i.naturalWidth)")
        assert window.run("return document.documentElement.scrollWidth <= window.innerWidth"), "wider than the window"
        window.screenshot(folder / f"serve_{size}.png")
        assert window.complaints() == []
    assert Image.open(folder / f"serve_{size}.png").width >= SIZES[size][0] * 0.9


def test_by_path_in_words_and_what_goes_wrong(running: ServingProcess) -> None:
    with browser(1280, 900) as window:
        window.go(running.address)
        window.until("document.querySelectorAll('#system option').length")
        window.type("#path", "nothing.mp4")
        window.type("#question", "What happens?")
        window.click("#go")
        assert "there is no video" in window.until("document.querySelector('#status.wrong')?.textContent")
        window.run("document.getElementById('path').value = ''")
        window.type("#path", "a.mp4")
        window.run("document.getElementById('system').value = 'blind'")
        window.click("#go")
        window.until("!document.getElementById('result').hidden")
        assert "it looked at no frame" in window.run("return document.getElementById('legend').textContent")
        assert window.run("return document.querySelectorAll('#frames img').length") == 0


def test_text_of_strangers_is_text(running: ServingProcess) -> None:
    """What was asked and answered is never markup; and nothing but the page's own script would run."""
    with browser(1280, 900) as window:
        window.go(running.address)
        window.until("document.querySelectorAll('#system option').length")
        window.type("#path", "a.mp4")
        window.type("#question", "?")
        window.type("#options", "<img src=x onerror=document.title='taken'>, <b>bold</b>")
        window.click("#go")
        window.until("!document.getElementById('result').hidden")
        assert window.run("return document.querySelectorAll('#shares img, #shares b, #answer img').length") == 0
        assert window.run("return document.title") == "Kairos: ask a video"
        window.run(
            "const made = document.createElement('script'); made.textContent = \"document.title = 'taken'\"; "
            "document.body.append(made)"
        )
        assert window.run("return document.title") == "Kairos: ask a video"
