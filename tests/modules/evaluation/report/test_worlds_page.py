"""The page of several worlds; and that of one, which is what it was before there were several."""

from __future__ import annotations

import html
import re
from pathlib import Path

import pytest
from report_runs import HOSTILE, NUM_VIDEOS, PER_VIDEO, SHARES, haystack, write_run, write_video

from datamodules.video.thumbnails import Thumbnails
from modules.evaluation.report.gallery import shared_out
from modules.evaluation.report.report_file import write_report
from modules.evaluation.report.run_folder import read_run
from recipes.launcher.cli import main

GOLDEN = Path(__file__).parent / "one_world.html"


def test_questions_are_shared_out() -> None:
    assert shared_out(200, [500, 500]) == [100, 100]
    assert shared_out(200, [500, 20, 500]) == [90, 20, 90]
    assert shared_out(200, [120]) == [120]
    assert shared_out(1, [5, 5]) == [1, 1]
    assert sum(shared_out(200, [500, 500, 500])) == 200


def test_the_page_of_several_worlds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ten = [write_run(tmp_path / f"ten_s{seed}", seed=seed, recipe=haystack(duration_s=600)) for seed in range(2)]
    more = {**SHARES, HOSTILE: 0.5}
    hour = write_run(tmp_path / "hour", question=HOSTILE, recipe=haystack(duration_s=3600), shares=more, num_videos=60)
    out = tmp_path / "page.html"
    main(["report", *map(str, ten), f"{HOSTILE}={hour}", "--out", str(out), "--no-thumbnails"])
    said, page = capsys.readouterr().out, out.read_text(encoding="utf-8")
    assert "10 minutes: Pooled as seeds of one thing, in ten_s0, ten_s1: mine." in said
    assert "Missing in “10 minutes”, and therefore without a mean over worlds: <script>" in said
    assert page.count("<article") == NUM_VIDEOS * PER_VIDEO + 60 * PER_VIDEO
    assert page.count('data-world="10 minutes"') == NUM_VIDEOS * PER_VIDEO
    assert page.count("<script>") == 1
    assert html.escape(HOSTILE).replace("&#x27;", "&#39;").replace("&quot;", "&#34;") in page
    assert len(set(re.findall(r'\bid="([^"]+)"', page))) == len(re.findall(r'\bid="([^"]+)"', page))
    assert all(f'id="{target}"' in page for target in re.findall(r'href="#([^"]+)"', page))
    written = write_report([read_run(run) for run in (*ten, hour)], out, num_questions=50)
    assert "50 of 192 questions are shown one by one, evenly spread over all." in written.remarks
    page = out.read_text(encoding="utf-8")
    assert page.count('data-world="10 minutes"') == 12  # all that it has; half of them would be 25
    small = write_report([read_run(run) for run in (*ten, hour)], out, most_bytes=200_000)
    assert small.num_bytes <= 200_000


def test_a_video_of_one_name_in_two_worlds_is_two_videos(tmp_path: Path) -> None:
    for number in range(2):
        write_video(tmp_path / f"a/videos/v{number}.mp4", number)
    runs = [read_run(write_run(tmp_path / f"{place}/run_{place}", question=place, num_videos=2)) for place in "ab"]
    written = write_report(runs, tmp_path / "page.html", pictures=Thumbnails())
    assert any("2 videos have no thumbnails" in remark for remark in written.remarks)
    pieces = (tmp_path / "page.html").read_text(encoding="utf-8").split("<article")[1:]
    assert [('data-world="run_a"' in piece, "<img" in piece) for piece in pieces] == [(True, True)] * 6 + [
        (False, False)
    ] * 6


def test_one_world_has_the_page_that_it_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`one_world.html` was written by the code before there were several worlds."""
    monkeypatch.chdir(tmp_path)
    runs = [read_run(write_run(Path(f"run_s{seed}"), seed=seed, num_videos=2)) for seed in range(2)]
    pages = [Path("page.html"), Path("named.html")]
    write_report(runs, pages[0])
    write_report(runs, pages[1], world_names={Path("run_s0"): "a name"})
    content = pages[0].read_text(encoding="utf-8")
    assert pages[1].read_text(encoding="utf-8") == content
    assert "world" not in re.sub(r"(?s)<(style|script)>.*?</\1>", "", content)
    Path(GOLDEN.name).write_text(_stripped(content), encoding="utf-8")
    assert _stripped(content) == GOLDEN.read_text(encoding="utf-8"), (
        f"meant? then cp {Path(GOLDEN.name).absolute()} {GOLDEN}"
    )


def _stripped(page: str) -> str:
    """A page without style and script, which are files of their own; both are those of one world alone."""
    templates = Path(write_report.__code__.co_filename).parent / "templates"
    for kind, element in (("css", "style"), ("js", "script")):
        text = (templates / f"report.{kind}").read_text(encoding="utf-8")
        assert f"<{element}>{text}</{element}>" in page
        page = page.replace(text, "")
    return re.sub(r"sha256-[^']+", "sha256", page)
