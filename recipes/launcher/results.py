"""``lightning score | compare | export``: what can be done with finished runs, without a model."""

from __future__ import annotations

import math
from pathlib import Path

from callbacks.evaluation_report import console_for, score_arms, score_table
from datamodules.questions.exports import export as export_selections
from modules.console import PlainConsole
from modules.evaluation.answer_files import read_answers
from modules.evaluation.paired import compare as compare_answers
from modules.evaluation.scorers import scorer
from modules.records import Answer
from modules.selection.selection_files import read_selections


def score(run: str, scorers: list[str], macro_over: str | None) -> None:
    """Scores the raw answers of a run anew."""
    answers = read_answers(run)
    console = console_for(answers)
    for name in scorers:
        full = scorer(name).name
        if scorer(name).reads_text and all(a.text is None for a in answers):
            raise ValueError(f"{full} reads answers in text, and this run has none; run it with model.generate true")
        console.print(score_table(score_arms(answers, full, macro_over), full))


def compare(run_a: str, run_b: str, arm_a: str | None, arm_b: str | None, scorer_name: str) -> None:
    """Is run B better than run A on the questions they share?"""
    first, second = _arm(read_answers(run_a), arm_a, run_a), _arm(read_answers(run_b), arm_b, run_b)
    found = compare_answers(first, second, scorer(scorer_name))
    console = PlainConsole()
    for side, arm, run, value in (
        ("A", first[0].arm, run_a, found.accuracy_a),
        ("B", second[0].arm, run_b, found.accuracy_b),
    ):
        console.print(f"{side}           {100 * value:.1f} %  {arm}  {run}")
    interval = f"[{100 * found.low:+.1f}, {100 * found.high:+.1f}] (95 %, clustered by video)"
    if math.isnan(found.low):
        interval = "(no interval: all questions are on one video)"
    console.print(f"B - A       {100 * found.difference:+.1f} points {interval}", soft_wrap=True)
    console.print(
        f"questions   {found.num_questions} in both; only A right {found.only_a_right}, only B right "
        f"{found.only_b_right}; McNemar p = {found.p_value:.3g}", soft_wrap=True,
    )  # fmt: skip
    if found.num_only_one:
        console.print(f"left out    {found.num_only_one} questions that only one run answered")


def _arm(answers: list[Answer], arm: str | None, run: str) -> list[Answer]:
    arms = sorted({a.arm for a in answers})
    if arm is None and len(arms) > 1:
        raise ValueError(f"{run} has the arms {', '.join(arms)}; name one with --arm-a or --arm-b")
    if arm is not None and arm not in arms:
        raise ValueError(f"{run} has no arm {arm!r}; there are {', '.join(arms)}")
    return [a for a in answers if arm is None or a.arm == arm]


def export(
    selections: str, form: str, out: str, sampler: str | None, num_frames: int | None, annotations: str | None
) -> None:
    """Selections in another harness's form."""
    rows = read_selections(selections, sampler)
    count = export_selections(rows, form, Path(out), num_frames=num_frames, annotations=annotations)
    PlainConsole().print(f"written     {out}: {count} questions")
