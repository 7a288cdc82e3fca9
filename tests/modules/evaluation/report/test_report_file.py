"""The file itself: nothing in it is a stranger's markup, it keeps its size, and says what is missing."""

from __future__ import annotations

import io
import json
import os
import re
from collections.abc import Iterator, Sequence
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from report_runs import HOSTILE, NUM_VIDEO_FRAMES, NUM_VIDEOS, PER_VIDEO, write_run, write_video

from datamodules.video.thumbnails import Thumbnails
from modules.evaluation.report.frame_pictures import fitted
from modules.evaluation.report.marks import marks
from modules.evaluation.report.picture_source import FramesOfVideo, PictureSource
from modules.evaluation.report.report_file import Written, write_report
from modules.evaluation.report.run_folder import read_run
from modules.evaluation.report.scatter_chart import Point, chart
from recipes.launcher.cli import main


class Tags(HTMLParser):
    """Counts elements and collects text, and holds that each one that is opened is closed."""

    _VOID = {"meta", "img", "br", "input", "link"}

    def __init__(self, page: str) -> None:
        super().__init__()
        self.counts: dict[str, int] = {}
        self.attributes: list[str] = []
        self.words, self.open = "", list[str]()
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.counts[tag] = self.counts.get(tag, 0) + 1
        self.attributes += [name for name, _ in attrs]
        if tag not in self._VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list) -> None:
        self.counts[tag] = self.counts.get(tag, 0) + 1

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, tag

    def handle_data(self, data: str) -> None:
        self.words += data


def written(*runs: Path, **settings) -> tuple[str, Written]:
    out = runs[0].parent / "page.html"
    done = write_report([read_run(run) for run in runs], out, **settings)
    return out.read_text(encoding="utf-8"), done


def test_no_markup_of_a_stranger_is_markup(tmp_path: Path) -> None:
    run = write_run(tmp_path / HOSTILE.replace("/", "_"), question=HOSTILE)
    page, done = written(run)
    tags = Tags(page)
    assert tags.counts["script"] == 1
    assert HOSTILE in tags.words
    assert not [name for name in tags.attributes if name.startswith("on")]
    assert "alert(1)</script>" not in page
    assert not re.search(r"""\b(src|href)=(?!"#|"data:image/webp)""", page)  # nothing is fetched
    assert "default-src 'none'" in page
    assert tags.counts["article"] == NUM_VIDEOS * PER_VIDEO
    assert "made without thumbnails" in "\n".join(done.remarks)


def test_thumbnails_are_of_the_frames_and_a_video_that_is_another_one_has_none(tmp_path: Path) -> None:
    for number in range(NUM_VIDEOS - 1):
        write_video(tmp_path / f"videos/v{number}.mp4", number)
    page, done = written(write_run(tmp_path / "run"), pictures=Thumbnails())
    assert Tags(page).counts["img"] > 50
    assert any("1 videos have no thumbnails" in r and "v3.mp4: no such file" in r for r in done.remarks), done.remarks
    asked = [
        FramesOfVideo("videos/v1.mp4", (tmp_path,), (3, 60), NUM_VIDEO_FRAMES),
        FramesOfVideo("videos/v1.mp4", (tmp_path,), (3,), 99),
        FramesOfVideo("a\0b", (tmp_path,), (3,)),
    ]
    good, other, none = Thumbnails().pictures(asked)
    assert sorted(good) == [3, 60]
    assert good[3][8:12] == b"WEBP"
    assert "it has 80 frames, and had 99 in the run" in str(other)
    assert isinstance(none, ValueError)


def test_the_file_keeps_its_size(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", num_videos=20)
    whole, _ = written(run)
    assert Tags(whole).counts["article"] == 60
    small, done = written(run, most_bytes=80_000)
    assert len(small.encode()) == done.num_bytes <= 80_000
    assert 10 < Tags(small).counts["article"] < 60
    (said,) = (remark for remark in done.remarks if "of 60 questions are shown one by one" in remark)
    assert said in Tags(small).words
    _, done = written(run, num_questions=7)
    assert any(remark.startswith("7 of 60 questions") for remark in done.remarks)


class OnePixel(PictureSource):
    """Pictures of next to nothing, so that what is around them is most of what they take."""

    def pictures(self, wanted: Sequence[FramesOfVideo]) -> Iterator[dict[int, bytes] | ValueError]:
        Image.new("RGB", (1, 1)).save(file := io.BytesIO(), "WEBP")
        for one in wanted:
            yield {frame: file.getvalue() for frame in one.frame_ids}


def test_the_file_keeps_its_size_with_pictures_whose_markup_is_most_of_them(tmp_path: Path) -> None:
    systems = {f"a system with a name that is long, number {n}": n / 30 for n in range(30)}
    run = write_run(tmp_path / "run", num_videos=6, shares=systems)
    _, bare = written(run)
    _, whole = written(run, pictures=OnePixel())
    for most_bytes in range(round(1.26 * bare.num_bytes), whole.num_bytes, 20_000):
        page, done = written(run, pictures=OnePixel(), most_bytes=most_bytes)
        assert len(page.encode()) == done.num_bytes <= most_bytes
        assert any("thumbnails fit into the file" in remark for remark in done.remarks)


def test_thumbnails_become_fewer_then_smaller() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (96, 128, 3), dtype=np.uint8)
    Image.fromarray(noise).save(file := io.BytesIO(), "WEBP", quality=60)
    frames = list(range(10))
    pictures = {(q, frame): file.getvalue() for q in range(3) for frame in frames}
    each = 4 * len(file.getvalue()) // 3 + 220
    everything = fitted(pictures, [frames] * 3, 31 * each)
    assert len(everything.urls) == 30
    assert everything.remarks == []
    fewer = fitted(pictures, [frames] * 3, 24 * each)
    assert sorted(fewer.urls) == [
        (q, frame) for q in range(3) for frame in range(8)
    ]  # the first are the most important
    assert fewer.remarks == ["24 of 30 thumbnails fit into the file."]
    smaller = fitted(pictures, [frames] * 3, 12 * each)
    assert len(smaller.urls) > 18
    assert "48 pixels high" in smaller.remarks[0]
    assert sum(map(len, smaller.urls.values())) < 12 * each
    assert fitted(pictures, [frames] * 3, 100).urls == {}


def test_what_is_missing_is_said_and_the_rest_is_shown(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    (run / "answers.jsonl").rename(run / "answers-unfinished-0.jsonl")
    with (run / "answers-unfinished-0.jsonl").open("a") as file:
        file.write('{"dataset": "small", "spl')
    (run / "selections.parquet").write_bytes(b"PAR1 cut in the mid")
    (run / "card.json").write_text('{"num_frames": 4,')
    os.remove(run / "recipe.yaml")
    page, done = written(run, pictures=Thumbnails())
    said = "\n".join(done.remarks)
    for what in ("has not ended", "no selections that can be read", "card.json cannot be read", "no recipe.yaml"):
        assert what in said
        assert what in Tags(page).words
    assert Tags(page).counts["article"] == NUM_VIDEOS * PER_VIDEO


def test_one_system_on_one_video(tmp_path: Path) -> None:
    page, _ = written(write_run(tmp_path / "run", shares={"mine": 0.5}, num_videos=1))
    assert Tags(page).counts["article"] == PER_VIDEO
    assert "nan" not in Tags(page).words.lower()


def test_odd_names_and_numbers(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run").rename(tmp_path / os.fsdecode(b"caf\xe9"))  # as on disks of before
    rows = [json.loads(line) for line in (run / "answers.jsonl").read_text().splitlines()]
    rows[0]["video"] = "a\udcff\x00b"
    rows[0]["option_log_probs"] = [None] * 3
    rows[1]["timestamps_s"] = [1.0, float("nan"), float("inf")]
    for row in rows:
        row["question"] = "\u202eodd \x07 \ud800"
        row["groups"] = {"kind": ["<b>", "a=b", "\x1b[31m"]}
    (run / "answers.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    page, _ = written(run, pictures=Thumbnails())
    assert "nan" not in "".join(re.findall(r' d="[^"]*"', page))
    assert not re.search(r"[\x00-\x08\x0b\x0e-\x1f]", page)
    Tags(page)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere"], "nowhere: no such folder"),
        (["run/answers.jsonl"], "a file, no run folder"),
        (["."], "is no folder of an evaluation: it has no answers.jsonl; in it there is "),
        (["run", "--scorer", "strict-leter"], "strict-leter"),
        (["run", "--out", "."], "is a folder"),
        (["run", "--out", "mine.html"], "is there already and is no report"),
        (["run", "--questions", "0"], "at least one"),
        (["run", "--max-mb", "nan"], "0.5 at least"),
    ],
)
def test_mistakes_are_answered_with_a_sentence(words: list[str], said: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path / "run", num_videos=1)
    Path("mine.html").write_text("<p>my own</p>")
    with pytest.raises(SystemExit, match=re.escape(said)) as raised:
        main(["report", *words])
    assert str(raised.value).count("\n") == 1  # that, and how to see more


def test_one_run_has_its_report_in_its_folder_and_is_made_again(tmp_path: Path, capsys) -> None:
    run = write_run(tmp_path / "run", num_videos=1)
    for _ in range(2):
        main(["report", str(run), "--no-thumbnails"])
        assert f"report      {run / 'report.html'} (0." in capsys.readouterr().out


def test_marks_differ_and_charts_have_room_for_their_labels() -> None:
    found = list(marks([f"system {n}" for n in range(40)]).values())
    assert len({(mark.colour, mark.path) for mark in found}) == 40
    mine, oracle = marks(["mine", "oracle", "mine"]).values()
    assert mine != oracle
    for low, high in ((0.004, 0.011), (1, 10_000), (3.0, 3.2), (8, 64)):
        points = [Point("a", found[0], low, 0.2, 0.1, 0.3), Point("b", found[1], high, 1.0, 0.9, 1.0)]
        drawn = chart("t", "x", points, [("floor", 0.2)])
        places = [x for x, _ in drawn.x_ticks]
        assert all(b - a >= 40 for a, b in pairwise(places)), drawn.x_ticks
        assert all(0 <= p.x <= 420 and 0 <= p.y_high <= p.y <= p.y_low <= 300 for p in drawn.points)
    assert chart("t", "x", points[:1], []) is None
    assert chart("t", "x", [*points, Point("free", found[2], float("nan"), 0.5, 0.4, 0.6)], []).left_out == ["free"]
