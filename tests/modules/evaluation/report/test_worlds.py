"""Runs on different questions stand on one page, world by world; runs on the same questions have the page they had."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report_runs import HOSTILE, NUM_VIDEOS, PER_VIDEO, SHARES, write_run

from modules.evaluation.answer_files import Answered
from modules.evaluation.report.contest_part import ContestPart
from modules.evaluation.report.contestants import contest_of
from modules.evaluation.report.gallery import shared_out
from modules.evaluation.report.marks import marks
from modules.evaluation.report.report_file import write_report
from modules.evaluation.report.run_folder import EvaluatedRun, read_run
from modules.evaluation.report.world_rows import world_rows
from modules.evaluation.report.worlds import worlds_of
from modules.evaluation.report.worlds_overview import WorldsOverview
from modules.evaluation.scorers import scorer
from modules.records import Answer
from recipes.launcher.cli import main
from recipes.launcher.report import named_folders

SCORER = scorer("option-logprob")
GOLDEN = Path(__file__).parent / "one_world.html"


def evaluated(
    folder: str,
    grades: Mapping[str, Sequence[Sequence[int]]],
    *,
    asked: str = "What",
    recipe: Mapping[str, Any] | None = None,
    card: Mapping[str, Any] | None = None,
    dataset: str = "small",
) -> EvaluatedRun:
    """A run whose systems are right as the grades say: of each system, of each video, of each of its questions."""
    answered = [
        Answered(
            Answer(
                dataset=dataset,
                split="test",
                sample_id=f"v{v}-q{q}",
                video=f"v{v}.mp4",
                system=system,
                question=f"{asked} {v} {q}?",
                options=("yes", "no"),
                answer_index=0,
                option_log_probs=(-0.1, -3.0) if right else (-3.0, -0.1),
                evidence_s=((1.0, 2.0),),
            )
        )
        for system, videos in grades.items()
        for v, of_video in enumerate(videos)
        for q, right in enumerate(of_video)
    ]
    return EvaluatedRun(Path(folder), answered, {}, card or {}, recipe or {}, {})


def overview(*runs: EvaluatedRun) -> WorldsOverview:
    worlds = worlds_of(runs, {})
    contests = [contest_of(world.runs, SCORER) for world in worlds]
    rows = world_rows(contests)
    of_methods = marks([row.method for row in rows])
    parts = [
        ContestPart(contest, of_methods, world.name, place)
        for place, (world, contest) in enumerate(zip(worlds, contests, strict=True))
    ]
    return WorldsOverview(rows, parts)


def haystack(**world: Any) -> dict[str, Any]:
    return {"name": "comparison", "data": {"init_args": {"world": world}}}


def members(*runs: EvaluatedRun) -> list[list[str]]:
    return [[str(run.folder) for run in world.runs] for world in worlds_of(runs, {})]


def test_a_world_is_the_runs_that_share_questions() -> None:
    ten = evaluated("ten", {"mine": [[1, 0], [1, 1]]})
    hour = evaluated("hour", {"mine": [[1], [0]]}, asked="Who")
    ten_again = evaluated("ten_again", {"mine": [[1, 0]]})  # a part of them is enough
    assert members(ten, hour, ten_again) == [["ten", "ten_again"], ["hour"]]
    both = EvaluatedRun(Path("both"), [*ten.answered, *hour.answered], {}, {}, {}, {})
    assert members(hour, ten, ten_again, both) == [["hour", "ten", "ten_again", "both"]]
    with pytest.raises(ValueError, match="no question was answered by every system of hour, ten, ten_again, both"):
        contest_of([hour, ten, ten_again, both], SCORER)


TEN = {"mine": [[1, 1], [1, 0]], "uniform": [[0, 0], [1, 0]], "oracle": [[1, 1], [1, 1]]}
HOUR = {"mine": [[1], [0], [0]], "uniform": [[0], [1], [0]], "other": [[1], [1], [1]]}


def test_numbers_of_the_table_by_hand() -> None:
    found = overview(evaluated("ten", TEN), evaluated("hour", HOUR, asked="Who"))
    rows = {one.row.label: one for one in found.table}
    ten, hour = rows["mine"].cells
    assert ten is not None
    assert hour is not None
    assert ten.right.value == 3 / 4
    assert ten.gap_closed == pytest.approx((3 / 4 - 1 / 4) / (1 - 1 / 4))
    assert (ten.right.low, ten.right.high) == (0.5, 1.0)  # one of the two videos alone has 1/2, the other 1
    assert hour.right.value == pytest.approx(1 / 3)
    assert hour.gap_closed is None  # there is no oracle
    mean = rows["mine"].mean
    assert mean is not None
    assert mean.value == pytest.approx((3 / 4 + 1 / 3) / 2)
    # by draws of videos, each world's own
    of_ten, of_hour = np.random.default_rng(0), np.random.default_rng(1)
    draws = [
        (
            np.mean([[1, 0.5][v] for v in of_ten.integers(0, 2, 2)])
            + np.mean([[1, 0, 0][v] for v in of_hour.integers(0, 3, 3)])
        )
        / 2
        for _ in range(2000)
    ]
    assert (mean.low, mean.high) == pytest.approx(tuple(np.percentile(draws, [2.5, 97.5])))
    assert mean.low == 0.25  # 1/2 and 0, which 1/4 · 8/27 = 7 % of all draws give
    assert [one.row.label for one in found.table] == ["mine", "uniform", "other", "oracle"]  # those with a mean first
    assert "mine is right on 54.2 % of the questions, uniform frames on 29.2 %" in found.headline
    assert "oracle" not in found.headline


def test_the_videos_of_each_world_are_drawn_on_their_own() -> None:
    """On the same draws one world's luck would undo the other's, and the mean would seem to be certain."""
    (row,) = overview(evaluated("a", {"mine": [[1], [0]]}), evaluated("b", {"mine": [[0], [1]]}, asked="Who")).table
    assert row.mean is not None
    assert (row.mean.value, row.mean.low, row.mean.high) == (0.5, 0.0, 1.0)  # both ends have 1/16 of all draws


def test_a_system_that_a_world_lacks_has_a_dash_and_no_mean() -> None:
    found = overview(evaluated("ten", TEN), evaluated("hour", HOUR, asked="Who"))
    rows = {one.row.label: one for one in found.table}
    assert rows["other"].cells[0] is None
    assert rows["oracle"].cells[1] is None
    assert rows["other"].mean is None
    assert "Not asked in “ten”, and therefore without a mean over worlds: other." in found.remarks
    assert "Not asked in “hour”, and therefore without a mean over worlds: oracle." in found.remarks
    ten, hour, mean = found.panels
    dots = {dot.label: dot for dot in ten.dots}
    assert dots["other"].x is None
    assert dots["mine"].x == 150 + 0.75 * 250
    assert (dots["mine"].x_low, dots["mine"].x_high) == (150 + 0.5 * 250, 400)
    assert ten.finding == "mine is right most often: 75.0 %"
    assert hour.finding == "other is right most often: 100.0 %"
    assert mean.title == "mean over worlds"
    alone = overview(evaluated("a", {"mine": [[1]]}), evaluated("b", {"yours": [[1]]}, asked="Who"))
    assert "no system that was asked in all" in alone.headline
    assert len(alone.panels) == 2
    assert "No mean has an interval, as there is a single video in “a” and “b”." in alone.remarks


def test_systems_of_one_name_are_told_apart_in_all_worlds_alike() -> None:
    def run(folder: str, recipe: str, asked: str, grades: Sequence[Sequence[int]]) -> EvaluatedRun:
        return evaluated(folder, {"sampler": grades}, asked=asked, recipe={"name": recipe, "x": recipe}, card={})

    found = overview(
        run("outputs/tspo/20261121-1", "tspo", "What", [[1, 1]]),
        run("outputs/refocus/20261121-2", "refocus", "What", [[1, 0]]),
        run("outputs/tspo/20261122-1", "tspo", "Who", [[1, 1]]),
    )
    assert [one.row.label for one in found.table] == ["sampler (tspo)", "sampler (refocus)"]
    assert found.table[0].mean is not None
    assert found.table[1].mean is None
    found = overview(
        *(
            evaluated(name, {"mine": [grades]}, asked=asked, card={"num_frames": k}, recipe={"k": k})
            for asked in ("What", "Who")
            for name, k, grades in ((f"{asked}_4", 4, [1, 0]), (f"{asked}_8", 8, [1, 1]))
        )
    )
    assert [one.row.label for one in found.table] == ["mine, 8 frames", "mine, 4 frames"]
    assert {one.mark for one in found.table} == {found.table[0].mark}  # one method
    found = overview(
        evaluated("a", {"mine": [[1], [0]]}, card={"num_frames": 4, "systems": {"mine": "Mine-1"}}),
        evaluated("b", {"mine": [[1], [0]]}, asked="Who", card={"num_frames": 8, "systems": {"mine": "Mine-2"}}),
    )
    assert [one.row.label for one in found.table] == ["mine"]
    assert found.num_frames == ["4", "8"]
    assert found.remarks == ["Of other weights or settings in one world than in another: mine."]


@pytest.mark.parametrize(
    ("recipes", "names"),
    [
        ([haystack(duration_s=600.0), haystack(duration_s=3600.0)], ["10 minutes", "1 hour"]),
        ([haystack(duration_s=5400), haystack(duration_s=30)], ["1.5 hours", "30 seconds"]),
        ([haystack(difficulty=None), haystack(difficulty={"edges_frac": 0.1})], ["plain", "hard"]),
        (
            [
                haystack(duration_s=60),
                haystack(duration_s=60, difficulty={"look_alikes": True}),
                haystack(duration_s=90),
            ],
            ["1 minute", "1 minute, hard", "1.5 minutes"],
        ),
        ([haystack(seed=0), haystack(seed=1)], ["run0", "run1"]),
        ([haystack(duration_s=60, seed=n // 2) for n in (0, 1)] + [haystack(duration_s=30)], None),
        ([{}, {}], ["run0", "run1"]),
    ],
)
def test_worlds_are_named_after_what_differs(recipes: list[dict], names: list[str] | None) -> None:
    runs = [evaluated(f"run{n}", {"mine": [[1]]}, asked=str(n), recipe=recipe) for n, recipe in enumerate(recipes)]
    expected = names or ["1 minute (run0)", "1 minute (run1)", "30 seconds"]
    assert [world.name for world in worlds_of(runs, {})] == expected
    given = worlds_of(runs, {Path("run1"): "mine"})
    assert given[1].name == "mine"
    assert len({world.name for world in given}) == len(runs)


def test_names_of_data_sets_and_of_folders_that_are_alike() -> None:
    runs = [
        evaluated("a/run", {"mine": [[1]]}, dataset="mlvu"),
        evaluated("b/run", {"mine": [[1]]}, dataset="lvbench"),
    ]
    assert [world.name for world in worlds_of(runs, {})] == ["mlvu/test", "lvbench/test"]
    runs = [evaluated(f"{place}/run", {"mine": [[1]]}, asked=place) for place in "abc"]
    assert [world.name for world in worlds_of(runs, {})] == ["run", "run (2)", "run (3)"]
    assert [world.name for world in worlds_of(runs, {Path("c/run"): "run"})] == ["run (2)", "run (3)", "run"]


def test_names_that_contradict_the_questions_are_mistakes() -> None:
    ten, again = evaluated("ten", {"mine": [[1]]}), evaluated("again", {"mine": [[1]]})
    hour = evaluated("hour", {"mine": [[1]]}, asked="Who")
    named = worlds_of([ten, again, hour], {Path("ten"): "short", Path("hour"): "long"})
    assert [world.name for world in named] == ["short", "long"]
    with pytest.raises(ValueError, match=r"ten, again have questions in common .* 'short' and 'long'"):
        worlds_of([ten, again], {Path("ten"): "short", Path("again"): "long"})
    with pytest.raises(ValueError, match="ten, hour have no question in common, and are all named 'one'"):
        worlds_of([ten, hour], {Path("ten"): "one", Path("hour"): "one"})


def test_names_on_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("lr=3").mkdir()
    assert named_folders(["a", "ten minutes=b, c", "lr=3", "hour=lr=4,a", "b"]) == {
        Path("a"): "hour",
        Path("b"): "ten minutes",
        Path("c"): "ten minutes",
        Path("lr=3"): "",
        Path("lr=4"): "hour",
    }
    long = [f"run{n}" for n in range(100)]
    assert set(named_folders([f"world={','.join(long)}"])) == set(map(Path, long))
    for words, said in (
        (["=a"], "NAME=RUN"),
        (["a="], "NAME=RUN"),
        (["a=b,,c"], "NAME=RUN"),
        (["x=a", "y=a"], "a is named both 'x' and 'y'"),
    ):
        with pytest.raises(ValueError, match=re.escape(said)):
            named_folders(words)


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
    assert "Not asked in “10 minutes”, and therefore without a mean over worlds: <script>" in said
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
