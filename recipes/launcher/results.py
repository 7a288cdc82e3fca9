"""``lightning score | compare | export``: what can be done with finished runs, without a model."""

from __future__ import annotations

import argparse
import math
from pathlib import Path

from datamodules.questions.exports import export as export_selections
from modules.console import PlainConsole, console_for
from modules.evaluation.answer_files import read_answered, read_answers
from modules.evaluation.costs_table import cost_table
from modules.evaluation.exits_table import exit_lines, exit_table
from modules.evaluation.paired import compare as compare_answers
from modules.evaluation.score_table import in_order, score_systems, score_table
from modules.evaluation.scorers import scorer
from modules.records import Answer
from modules.selection.selection_files import read_selections


def score_command(options: argparse.Namespace) -> None:
    """``lightning score RUN``."""
    score(options.run, options.scorer or ["option-logprob"], options.macro_over)


def compare_command(options: argparse.Namespace) -> None:
    """``lightning compare RUN_A RUN_B``."""
    compare(options.run_a, options.run_b, options.system_a, options.system_b, options.scorer)


def export_command(options: argparse.Namespace) -> None:
    """``lightning export SELECTIONS``."""
    if missing := [word for word in ("format", "out") if getattr(options, word) is None]:
        raise ValueError(f"export needs --{' and --'.join(missing)}, or --hub-folder; lightning export --help")
    export(options.selections, options.format, options.out, options.sampler, options.num_frames, options.annotations)


def score(run: str, scorers: list[str], macro_over: str | None) -> None:
    """Scores the raw answers of a run anew."""
    answered = read_answered(run)
    answers = [one.answer for one in answered]
    systems = sorted({answer.system for answer in answers})
    console = console_for(len(systems))
    for name in scorers:
        full = scorer(name).name
        if scorer(name).reads_text and all(a.text is None for a in answers):
            raise ValueError(f"{full} reads answers in text, and this run has none; run it with model.generate true")
        lines = score_systems(answers, full, macro_over)
        console.print(score_table({t: lines[s] for s, t in in_order(lines).items()}, full))
        if exits := exit_lines(answered, scorer(name)):
            console.print(exit_table(exits, in_order(systems)))
    if any(one.cost is not None for one in answered):
        console.print(cost_table(answered, in_order(systems)))


def compare(run_a: str, run_b: str, system_a: str | None, system_b: str | None, scorer_name: str) -> None:
    """Is run B better than run A on the questions they share?"""
    first = _of_system(read_answers(run_a), system_a, run_a, "--system-a")
    second = _of_system(read_answers(run_b), system_b, run_b, "--system-b")
    found = compare_answers(first, second, scorer(scorer_name))
    console = PlainConsole()
    for side, system, run, value in (
        ("A", first[0].system, run_a, found.accuracy_a),
        ("B", second[0].system, run_b, found.accuracy_b),
    ):
        console.print(f"{side}           {100 * value:.1f} %  {system}  {run}")
    interval = f"[{100 * found.low:+.1f}, {100 * found.high:+.1f}] (95 %, clustered by video)"
    if math.isnan(found.low):
        interval = "(no interval: all questions are on one video)"
    console.print(f"B - A       {100 * found.difference:+.1f} points {interval}", soft_wrap=True)
    console.print(
        f"questions   {found.num_questions} in both; only A right {found.only_a_right}, only B right "
        f"{found.only_b_right}; McNemar p = {found.p_value:.3g}",
        soft_wrap=True,
    )
    if found.num_only_one:
        console.print(f"left out    {found.num_only_one} questions that only one run answered")


def _of_system(answers: list[Answer], system: str | None, run: str, option: str) -> list[Answer]:
    systems = sorted({a.system for a in answers})
    if system is None and len(systems) > 1:
        raise ValueError(f"{run} has the systems {', '.join(systems)}; name one with {option}")
    if system is not None and system not in systems:
        raise ValueError(f"{run} has no system {system!r}; there are {', '.join(systems)}")
    return [a for a in answers if system is None or a.system == system]


def export(
    selections: str, form: str, out: str, sampler: str | None, num_frames: int | None, annotations: str | None
) -> None:
    """Selections in another harness's form."""
    rows = read_selections(selections, sampler)
    count = export_selections(rows, form, Path(out), num_frames=num_frames, annotations=annotations)
    PlainConsole().print(f"written     {out}: {count} questions")
