"""The numbers of a report are those of the evaluation, and runs are pooled and paired as they should be."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from report_runs import NUM_VIDEOS, PER_VIDEO, write_run

from modules.evaluation.aggregate import grade, report
from modules.evaluation.answer_files import read_answers
from modules.evaluation.costs_table import cost_lines
from modules.evaluation.paired import compare
from modules.evaluation.report.contestants import Contest, contest_of
from modules.evaluation.report.numbers import pairs, standings
from modules.evaluation.report.run_folder import read_run
from modules.evaluation.scorers import scorer
from modules.evaluation.statistics import gap_closed

SCORER = scorer("option-logprob")


def contest(*folders: Path) -> Contest:
    return contest_of([read_run(folder) for folder in folders], SCORER)


def test_numbers_of_one_run_are_those_of_score_and_compare(tmp_path: Path) -> None:
    found = contest(write_run(tmp_path / "run"))
    answers = read_answers(tmp_path / "run")
    graded = {s: grade([a for a in answers if a.system == s], SCORER) for s in ("uniform", "mine", "oracle")}
    ranking = standings(found)
    assert [s.right.value for s in ranking] == sorted((s.right.value for s in ranking), reverse=True)
    for standing in ranking:
        system = standing.contestant.system
        micro, *groups = report(graded[system])
        for ours, theirs in [(standing.right, micro), *((standing.by_group[line.name], line) for line in groups)]:
            assert ours.num_questions == theirs.num_questions
            assert (ours.value, ours.low, ours.high) == pytest.approx((theirs.value, theirs.low, theirs.high))
        assert standing.gap_closed == pytest.approx(
            gap_closed(*(graded[name].correct for name in (system, "uniform", "oracle")))
        )
        assert standing.cost == cost_lines(found.contestants[0].replicates[0].run.answered)[system]
    ordered = [s.contestant for s in ranking]
    table = pairs(found, ordered)
    assert [table[n][n] for n in range(3)] == [None] * 3
    for a, b in ((0, 1), (2, 0)):
        own, others = ([x for x in answers if x.system == ordered[n].system] for n in (a, b))
        theirs, ours = compare(others, own, SCORER), table[a][b]
        assert (ours.difference, ours.low, ours.high) == pytest.approx((theirs.difference, theirs.low, theirs.high))
        assert ours.verdict == ("better" if theirs.low > 0 else "worse" if theirs.high < 0 else "open")
    assert table[0][2].verdict == "better"
    assert table[2][0].verdict == "worse"


def test_seeds_are_pooled_and_what_answers_alike_counts_once(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / f"run_s{seed}", seed=seed) for seed in range(3)]
    found = contest(*runs)
    by_name = {one.system: one for one in found.contestants}
    assert {name: len(one.replicates) for name, one in by_name.items()} == {"uniform": 1, "mine": 3, "oracle": 1}
    each = [grade([a for a in read_answers(run) if a.system == "mine"], SCORER).correct.mean() for run in runs]
    (mine,) = [s for s in standings(found) if s.contestant.system == "mine"]
    assert mine.right.value == pytest.approx(np.mean(each))
    assert mine.spread == (min(each), max(each))
    said = "\n".join(found.remarks)
    assert "Pooled as seeds of one thing, in run_s0, run_s1, run_s2: mine." in said
    assert "the same in run_s0, run_s1, run_s2 count once: oracle, uniform." in said or "uniform, oracle." in said
    # three seeds of one video are no three videos: the interval is that of the mean over seeds, by hand
    grades = np.stack([grade([a for a in read_answers(r) if a.system == "mine"], SCORER).correct for r in runs])
    by_video = grades.mean(0).reshape(NUM_VIDEOS, PER_VIDEO).mean(1)
    rng = np.random.default_rng(0)
    means = [by_video[rng.integers(0, NUM_VIDEOS, NUM_VIDEOS)].mean() for _ in range(2000)]
    assert (mine.right.low, mine.right.high) == pytest.approx(tuple(np.percentile(means, [2.5, 97.5])))


def test_weights_that_one_recipe_trained_are_seeds_of_one_thing(tmp_path: Path) -> None:
    """Of a comparison, whose samplers are told by the recipes that trained them, while these are there."""

    def trained(name: str, rate: float, seed: int) -> str:
        (folder := tmp_path / name / "checkpoints").mkdir(parents=True)
        recipe = {"model": {"init_args": {"rate": rate}}, "seed_everything": seed}
        (folder.parent / "recipe.yaml").write_text(json.dumps(recipe))
        return str(folder / "last.ckpt")

    def compared(name: str, seed: int, weights: str) -> Path:
        return write_run(
            tmp_path / name, seed=seed, recipe={"model": {"init_args": {"num_frames": 4, "weights": {"mine": weights}}}}
        )

    weights = [trained(f"slow_{seed}", 0.1, seed) for seed in range(2)]
    runs = [compared(f"compared_{seed}", seed, weights[seed]) for seed in range(2)]
    fast = compared("fast", 2, trained("fast_0", 0.9, 0))
    found = contest(*runs, fast)
    assert sorted(one.label for one in found.contestants) == ["mine (compared)", "mine (fast)", "oracle", "uniform"]
    assert {one.label: len(one.replicates) for one in found.contestants}["mine (compared)"] == 2
    shutil.rmtree(tmp_path / "slow_1")
    assert len([one for one in contest(*runs).contestants if one.system == "mine"]) == 2, (
        "nobody knows by what any more"
    )


def test_other_methods_and_other_numbers_of_frames_stand_side_by_side(tmp_path: Path) -> None:
    runs = [
        write_run(tmp_path / "ours_s0", recipe={"sampler": "ours"}),
        write_run(tmp_path / "ours_s1", recipe={"sampler": "ours"}, seed=1),
        write_run(tmp_path / "theirs", recipe={"sampler": "theirs"}, seed=2),
    ]
    labels = [one.label for one in contest(*runs).contestants]
    assert sorted(labels) == ["mine (ours)", "mine (theirs)", "oracle", "uniform"]
    scheduled = {"sampler": "ours", "trainer": {"callbacks": [{"class_path": "Curriculum"}], "devices": 2}}
    labels = [one.label for one in contest(runs[0], write_run(tmp_path / "easy", recipe=scheduled, seed=3)).contestants]
    assert sorted(labels) == ["mine (easy)", "mine (ours)", "oracle", "uniform"]
    more = write_run(tmp_path / "more", num_frames=8)
    found = contest(runs[0], more)
    assert len(found.questions) == NUM_VIDEOS * PER_VIDEO
    labels = [one.label for one in found.contestants]
    assert {"uniform, 4 frames", "uniform, 8 frames", "mine, 4 frames", "mine, 8 frames"} <= set(labels)


def test_only_questions_that_all_have_answered_count(tmp_path: Path) -> None:
    part = write_run(tmp_path / "part", num_videos=2, recipe={"sampler": "part"})
    found = contest(part, write_run(tmp_path / "whole"))
    assert len(found.questions) == 2 * PER_VIDEO
    assert f"{2 * PER_VIDEO} of {4 * PER_VIDEO} questions were left out" in "\n".join(found.remarks)
    assert all(one.grades.shape[1] == 2 * PER_VIDEO for one in found.contestants)
    other = write_run(tmp_path / "other", question="Which letter?")  # the ids are the same, the questions are not
    with pytest.raises(ValueError, match="no question was answered by every system of part, other"):
        contest(part, other)
