"""Runs that share questions are one world, and worlds are named after what differs, or as the command line says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from report_runs import evaluated, haystack

from modules.evaluation.report.contestants import contest_of
from modules.evaluation.report.run_folder import EvaluatedRun
from modules.evaluation.report.worlds import worlds_of
from modules.evaluation.scorers import scorer
from recipes.launcher.report import named_folders


def members(*runs: EvaluatedRun) -> list[list[str]]:
    return [[str(run.folder) for run in world.runs] for world in worlds_of(runs, {})]


def test_a_world_is_the_runs_that_share_questions() -> None:
    ten = evaluated("ten", {"mine": [[1, 0], [1, 1]]})
    hour = evaluated("hour", {"mine": [[1], [0]]}, asked="Who")
    ten_again = evaluated("ten_again", {"mine": [[1, 0]]})  # a part of them is enough
    assert members(ten, hour, ten_again) == [["ten", "ten_again"], ["hour"]]
    rest = EvaluatedRun(
        Path("rest"), ten.answered[-1:], {}, {}, {}, {}
    )  # of what the first one was asked, not the second
    assert members(ten, ten_again, rest) == [["ten", "ten_again", "rest"]]
    both = EvaluatedRun(Path("both"), [*ten.answered, *hour.answered], {}, {}, {}, {})
    assert members(hour, ten, ten_again, both) == [["hour", "ten", "ten_again", "both"]]
    with pytest.raises(ValueError, match="no question was answered by every system of hour, ten, ten_again, both"):
        contest_of([hour, ten, ten_again, both], scorer("option-logprob"))


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
    other = evaluated("other", {"mine": [[1]]})
    for runs in ([ten, again, other], [other, ten, again]):
        with pytest.raises(ValueError, match=r" in common with 'short' and with 'long'; say which world"):
            worlds_of(runs, {Path("ten"): "short", Path("again"): "long"})
    with pytest.raises(ValueError, match="ten, hour have no question in common, and are all named 'one'"):
        worlds_of([ten, hour], {Path("ten"): "one", Path("hour"): "one"})


def test_worlds_that_ask_the_same_are_told_apart_by_their_names() -> None:
    """Of videos that only look different, questions and evidence are the same."""
    plain, seed, faint = (evaluated(name, {"mine": [[1]]}) for name in ("plain", "seed", "faint"))
    names = {Path("plain"): "plain", Path("seed"): "plain", Path("faint"): "faint"}
    worlds = worlds_of([plain, faint, seed], names)
    assert [(world.name, world.runs) for world in worlds] == [("plain", [plain, seed]), ("faint", [faint])]
    assert len(worlds_of([plain, faint, seed], {})) == 1


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
