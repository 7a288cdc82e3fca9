"""The table over worlds: its numbers by hand, systems that a world lacks, and systems of one name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from report_runs import evaluated

from modules.evaluation.answer_files import Answered
from modules.evaluation.report.contest_part import ContestPart
from modules.evaluation.report.contestants import contest_of
from modules.evaluation.report.marks import marks
from modules.evaluation.report.run_folder import EvaluatedRun
from modules.evaluation.report.world_rows import world_rows
from modules.evaluation.report.worlds import worlds_of
from modules.evaluation.report.worlds_overview import WorldsOverview
from modules.evaluation.scorer_base import Scorer
from modules.evaluation.scorers import scorer
from modules.records import Answer

SCORER = scorer("option-logprob")
TEN = {"mine": [[1, 1], [1, 0]], "uniform": [[0, 0], [1, 0]], "oracle": [[1, 1], [1, 1]]}
HOUR = {"mine": [[1], [0], [0]], "uniform": [[0], [1], [0]], "other": [[1], [1], [1]]}


def overview(*runs: EvaluatedRun, by: Scorer = SCORER) -> WorldsOverview:
    worlds = worlds_of(runs, {})
    contests = [contest_of(world.runs, by) for world in worlds]
    rows = world_rows(contests)
    of_methods = marks([row.method for row in rows])
    parts = [
        ContestPart(contest, of_methods, world.name, place)
        for place, (world, contest) in enumerate(zip(worlds, contests, strict=True))
    ]
    return WorldsOverview(rows, parts)


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
    assert rows["mine"].mean_gap_closed is None
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


def test_the_gap_closed_on_average_is_the_mean_of_the_worlds() -> None:
    """Each world's gap counts alike, however wide it is: 2/3 and 1, where all right answers together close 4/5."""
    wide = {"uniform": [[0, 0], [1, 0]], "mine": [[1, 0], [1, 1]], "oracle": [[1, 1], [1, 1]]}
    narrow = {"uniform": [[1, 0], [1, 0]], "mine": [[1, 1], [1, 1]], "oracle": [[1, 1], [1, 1]]}
    table = overview(evaluated("ten", wide), evaluated("hour", narrow, asked="Who")).table
    assert {one.row.label: one.mean_gap_closed for one in table} == pytest.approx(
        {"oracle": 1.0, "mine": (2 / 3 + 1) / 2, "uniform": 0.0}
    )


def test_the_videos_of_each_world_are_drawn_on_their_own() -> None:
    """On the same draws one world's luck would undo the other's, and the mean would seem to be certain."""
    (row,) = overview(evaluated("a", {"mine": [[1], [0]]}), evaluated("b", {"mine": [[0], [1]]}, asked="Who")).table
    assert row.mean is not None
    assert (row.mean.value, row.mean.low, row.mean.high) == (0.5, 0.0, 1.0)  # both ends have 1/16 of all draws


def test_a_number_of_a_corpus_is_drawn_as_such() -> None:
    """BLEU of some captions is not the mean of theirs; whole videos are drawn, and counted anew."""

    def captions(folder: str, texts: Sequence[str]) -> EvaluatedRun:
        answers = [
            Answer(
                "d",
                "s",
                f"{folder}{n}",
                f"v{n}",
                "mine",
                folder,
                (),
                None,
                references=("a man cuts a tree",),
                text=text,
            )
            for n, text in enumerate(texts)
        ]
        return EvaluatedRun(Path(folder), [Answered(answer) for answer in answers], {}, {}, {}, {})

    runs = [captions("a", ["a man cuts a tree", "a dog"]), captions("b", ["a man sits", "a man cuts grass", "a tree"])]
    (row,) = overview(*runs, by=scorer("bleu-1")).table
    ones = [cell.contestant for cell in row.cells if cell is not None]
    assert row.mean is not None
    assert row.mean.value == pytest.approx(
        np.mean([one.value(np.arange(n)) for one, n in zip(ones, (2, 3), strict=True)])
    )
    generators = [np.random.default_rng(place) for place in (0, 1)]
    draws = [
        np.mean([one.value(g.integers(0, n, n)) for one, g, n in zip(ones, generators, (2, 3), strict=True)])
        for _ in range(2000)
    ]
    assert (row.mean.low, row.mean.high) == pytest.approx(tuple(np.percentile(draws, [2.5, 97.5])))


def test_a_system_that_a_world_lacks_has_a_dash_and_no_mean() -> None:
    found = overview(evaluated("ten", TEN), evaluated("hour", HOUR, asked="Who"))
    rows = {one.row.label: one for one in found.table}
    assert rows["other"].cells[0] is None
    assert rows["oracle"].cells[1] is None
    assert rows["other"].mean is None
    assert "Missing in “ten”, and therefore without a mean over worlds: other." in found.remarks
    assert "Missing in “hour”, and therefore without a mean over worlds: oracle." in found.remarks
    ten, hour, mean = found.panels
    dots = {dot.label: dot for dot in ten.dots}
    assert dots["other"].x is None
    assert dots["mine"].x == 150 + 0.75 * 250
    assert (dots["mine"].x_low, dots["mine"].x_high) == (150 + 0.5 * 250, 400)
    assert ten.finding == "mine is right most often: 75.0 %"
    assert hour.finding == "other is right most often: 100.0 %"
    assert mean.title == "mean over worlds"
    alone = overview(evaluated("a", {"mine": [[1]]}), evaluated("b", {"yours": [[1]]}, asked="Who"))
    assert "no system that is in all" in alone.headline
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
