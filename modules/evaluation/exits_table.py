"""How systems that reason in steps came to their end: how often each way, and how often it was right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.table import Table

from modules.evaluation.answer_files import Answered
from modules.evaluation.scorer_base import Scorer


@dataclass(frozen=True)
class ExitLine:
    """One way of exit of one system."""

    system: str
    exit: str
    num_questions: int
    share: float
    """Of the system's questions."""
    accuracy: float | None
    """Of those that ended so; None where the scorer can say nothing of them."""
    reasoner_calls: float
    """A question, on average."""


def exit_lines(answered: Sequence[Answered], scorer: Scorer) -> list[ExitLine]:
    """A line a system and way of exit, the most frequent first; none where no system reasons in steps."""
    lines: list[ExitLine] = []
    for system in sorted({one.answer.system for one in answered}):
        own = [one for one in answered if one.answer.system == system and one.answer.exit is not None]
        known = [one for one in own if scorer.judges(one.answer)]
        grades = scorer.grade_all([one.answer for one in known])
        graded = {id(one): grade or 0.0 for one, grade in zip(known, grades, strict=True)}
        found = [
            _line(system, name, [one for one in own if one.answer.exit == name], len(own), graded)
            for name in sorted({str(one.answer.exit) for one in own})
        ]
        lines += sorted(found, key=lambda line: -line.num_questions)
    return lines


def _line(system: str, name: str, ended: Sequence[Answered], of: int, graded: Mapping[int, float]) -> ExitLine:
    grades = [graded[id(one)] for one in ended if id(one) in graded]
    calls = sum(step.cost.calls for one in ended for step in one.trace if step.role == "reasoner")
    accuracy = sum(grades) / len(grades) if grades else None
    return ExitLine(system, name, len(ended), len(ended) / of, accuracy, calls / len(ended))


def exit_table(lines: Sequence[ExitLine], columns: Mapping[str, str]) -> Table:
    """The lines as a table.

    Args:
        lines: of all systems.
        columns: systems to print, in order, with the name they are printed under.
    """
    table = Table(title="How it ended", title_justify="left")
    table.add_column("system")
    table.add_column("exit")
    for heading in ("questions", "share, %", "right, %", "reasoner calls"):
        table.add_column(heading, justify="right")
    for system, title in columns.items():
        for line in (line for line in lines if line.system == system):
            right = "-" if line.accuracy is None else f"{100 * line.accuracy:.1f}"
            shares = (f"{line.num_questions}", f"{100 * line.share:.1f}", right, f"{line.reasoner_calls:.1f}")
            table.add_row(title, line.exit, *shares)
    return table
