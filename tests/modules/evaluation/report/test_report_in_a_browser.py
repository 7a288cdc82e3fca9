"""A report in headless Chromium: filters, images, no complaints, no sideways scrolling on a phone, keyboard."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from report_browser import MARKS, SHOWN, SIZES, chromium, count_shown, opened, widths
from report_runs import HOSTILE, NUM_VIDEOS, PER_VIDEO, write_run, write_video

from datamodules.video.thumbnails import Thumbnails
from modules.evaluation.report.report_file import write_report
from modules.evaluation.report.run_folder import read_run

pytestmark = MARKS
NUM_QUESTIONS = NUM_VIDEOS * PER_VIDEO


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("report")
    for number in range(NUM_VIDEOS):
        write_video(root / f"videos/v{number}.mp4", number)
    shares = {f"a system with quite a long name {n}": 0.1 * n for n in range(9)}
    runs = [
        write_run(root / "long_s0", question=HOSTILE, shares={"uniform": 0.25, "mine": 0.5, "oracle": 0.95, **shares}),
        write_run(root / "more", question=HOSTILE, num_frames=8),
    ]
    write_report([read_run(run) for run in runs], root / "page.html", pictures=Thumbnails())
    return root / "page.html"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as started:
        yield started


@pytest.fixture(params=SIZES.values(), ids=SIZES)
def page(request: pytest.FixtureRequest, browser: Any, page_file: Path) -> Iterator[Any]:
    with opened(browser, page_file, request.param) as one:
        yield one


def count(page: Any) -> int:
    return count_shown(page, NUM_QUESTIONS)


def test_filters_show_what_they_say(page: Any) -> None:
    assert count(page) == NUM_QUESTIONS
    page.select_option("[name=kind]", "kind=count")
    assert count(page) == NUM_VIDEOS
    page.select_option("[name=kind]", "")
    numbers = {}
    for verdict in ("right", "wrong"):
        page.select_option("[name=verdict]", verdict)
        for label in ("oracle, 4 frames", "uniform, 4 frames"):
            page.select_option("[name=system]", label=label)
            numbers[verdict, label] = count(page)
            rows = page.locator(f"{SHOWN} .row.chosen")
            assert rows.count() == numbers[verdict, label]
            assert all(verdict in rows.nth(n).get_attribute("class").split() for n in range(rows.count()))
    assert numbers["right", "oracle, 4 frames"] + numbers["wrong", "oracle, 4 frames"] == NUM_QUESTIONS
    assert numbers["right", "oracle, 4 frames"] > numbers["right", "uniform, 4 frames"]
    page.select_option("[name=kind]", "kind=count")
    assert page.locator("#none").is_visible() == (count(page) == 0)
    page.click("button[type=reset]")
    page.wait_for_function(f"document.querySelectorAll('{SHOWN}').length === {NUM_QUESTIONS}")
    assert page.locator(".row.chosen").count() == 0


def test_images_load_and_nothing_is_wider_than_the_screen(page: Any) -> None:
    page.evaluate("document.querySelectorAll('img').forEach((image) => { image.loading = 'eager' })")
    page.evaluate("Promise.all([...document.images].map((image) => image.decode()))")
    sizes = page.evaluate("[...document.images].map((image) => [image.naturalWidth, image.naturalHeight])")
    assert len(sizes) > 5 * NUM_QUESTIONS
    assert set(map(tuple, sizes)) == {(64, 48)}
    width, screen = widths(page)
    assert width == screen
    assert page.locator("svg.line path").first.bounding_box()["width"] > 0


def test_the_keyboard_is_enough(page: Any) -> None:
    seen = set()
    for _ in range(24):
        page.keyboard.press("Tab")
        seen.add(page.evaluate("document.activeElement.name || document.activeElement.className || ''"))
    assert {"kind", "system", "verdict", "wide"} <= seen
    page.focus("[name=verdict]")
    page.keyboard.press("ArrowDown")
    assert page.locator("[name=verdict]").input_value() == "right"
    assert 0 < count(page) < NUM_QUESTIONS
