"""The page of several worlds in headless Chromium: the filter by world, pictures that can be seen, a phone's width."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from report_browser import MARKS, SHOWN, SIZES, chromium, count_shown, opened, widths
from report_runs import HOSTILE, NUM_VIDEOS, PER_VIDEO, SHARES, write_run, write_video

from datamodules.video.thumbnails import Thumbnails
from modules.evaluation.report.report_file import write_report
from modules.evaluation.report.run_folder import read_run

pytestmark = MARKS
OF_TEN, OF_HOUR = NUM_VIDEOS * PER_VIDEO, 2 * PER_VIDEO
_OUTSIDE = """(figure) => {
  const all = figure.querySelector("svg").getBoundingClientRect();
  const parts = [...figure.querySelectorAll("svg :not(title)")].map((part) => part.getBoundingClientRect());
  return parts.filter((r) => r.left < all.left - 1 || r.right > all.right + 1 || r.bottom > all.bottom + 1).length;
}"""


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("worlds")
    for number in range(NUM_VIDEOS):
        write_video(root / f"videos/v{number}.mp4", number)
    shares = {**SHARES, **{f"a system with quite a long name {n}": 0.1 * n for n in range(9)}}
    runs = {
        write_run(root / "ten", shares=shares): "ten minutes",
        write_run(root / "hour", question="Who?", num_videos=2, shares={**SHARES, "new": 0.5}): HOSTILE,
    }
    write_report([read_run(run) for run in runs], root / "page.html", pictures=Thumbnails(), world_names=runs)
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
    return count_shown(page, OF_TEN + OF_HOUR)


def test_the_filter_by_world_goes_with_the_others(page: Any) -> None:
    assert count(page) == OF_TEN + OF_HOUR
    page.select_option("[name=world]", "ten minutes")
    assert count(page) == OF_TEN
    assert page.locator(SHOWN).first.get_attribute("data-world") == "ten minutes"
    page.select_option("[name=world]", HOSTILE)
    assert count(page) == OF_HOUR
    page.select_option("[name=kind]", "kind=count")
    assert count(page) == 2
    page.select_option("[name=kind]", "")
    numbers = []
    for verdict in ("right", "wrong"):
        page.select_option("[name=verdict]", verdict)
        page.select_option("[name=system]", label="new")
        numbers.append(count(page))
        rows = page.locator(f"{SHOWN} .row.chosen")
        assert rows.count() == numbers[-1]
        assert all(rows.nth(n).locator(".who").text_content() == "new" for n in range(rows.count()))
    assert sum(numbers) == OF_HOUR
    page.select_option("[name=world]", "ten minutes")  # it was not asked there
    for verdict in ("right", "wrong"):
        page.select_option("[name=verdict]", verdict)
        assert count(page) == 0
    assert page.locator("#none").is_visible()
    page.click("button[type=reset]")
    page.wait_for_function(f"document.querySelectorAll('{SHOWN}').length === {OF_TEN + OF_HOUR}")
    assert count(page) == OF_TEN + OF_HOUR


def test_nothing_is_wider_than_the_screen_and_what_is_drawn_can_be_seen(page: Any) -> None:
    width, screen = widths(page)
    assert width == screen
    assert page.locator("#worlds figure").count() == 3  # two worlds and their mean
    for figure in page.locator("#worlds figure").all():
        outside = figure.evaluate(_OUTSIDE)
        assert outside == 0
    assert page.locator("#worlds tbody tr").count() == 13
    assert page.locator("#worlds tbody tr", has_text="new").locator("td").all_inner_texts()[::2] == ["\u2013"] * 2
    assert page.locator("#worlds .missing").count() == 1 + 9  # the mean has rows of those alone that have one


def test_the_links_of_the_head_lead_to_the_worlds(page: Any) -> None:
    page.click("nav a:has-text('ten minutes')")
    assert page.url.endswith("#world-1")
    assert page.locator("#world-1 > h2").inner_text() == "ten minutes"
    assert page.locator(".world h3", has_text="Every pair").count() == 2
