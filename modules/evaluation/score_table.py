"""Scores of systems as lines and as a table."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from rich.table import Table

from modules.evaluation.aggregate import Line, grade, report, total
from modules.evaluation.gaps import CEILING, gap_lines
from modules.evaluation.grounding import grounding_metrics
from modules.evaluation.scorers import Scorer, scorer
from modules.records import Answer

_FIRST = {"blind": "blind", "uniform": "uniform", "clip_topk": "CLIP top-k", "before": "before", "start": "start"}
_LAST = {"after": "after", "oracle": "oracle"}


def in_order(systems: Iterable[str]) -> dict[str, str]:
    """Systems from the floor to the ceiling, as far as they are known ones, each with the title of its column."""
    present = set(systems)
    others = {name: name for name in sorted(present - _FIRST.keys() - _LAST.keys())}
    return {name: title for name, title in {**_FIRST, **others, **_LAST}.items() if name in present}


def default_scorer(answers: Sequence[Answer]) -> Scorer:
    """``option-logprob`` where options were scored; where there are references alone, ``cider-d`` if they
    are captions, and ``rouge-l`` if not; else the rules that rewards read letters by."""
    if any(answer.option_log_probs is not None for answer in answers):
        return scorer("option-logprob")
    is_open = any(answer.references for answer in answers) and not any(answer.options for answer in answers)
    if not is_open:
        return scorer("strict-letter")
    return scorer("cider-d" if _are_captions(answers) else "rouge-l")


def _are_captions(answers: Sequence[Answer]) -> bool:
    """Whether one thing is asked of several videos, and sentences answer it: four words or more on average."""
    asked = {answer.sample_id: answer for answer in answers}
    num_words = [len(text.split()) for answer in asked.values() for text in answer.references]
    return len({answer.question for answer in answers}) == 1 < len(asked) and sum(num_words) >= 4 * len(num_words)


def lacks_evidence(answers: Sequence[Answer]) -> bool:
    """Whether the oracle was asked and could not know where to look, since no question has evidence."""
    asked = [answer for answer in answers if answer.system == CEILING]
    return bool(asked) and not any(answer.evidence_s for answer in asked)


def score_systems(answers: Sequence[Answer], by: str | Scorer, macro_over: str | None) -> dict[str, list[Line]]:
    """The lines of every system under one scorer, or the one of that name.

    Grounding metrics join where evidence is known (NExT-GQA), and the share of the gap between uniform and oracle where
    both were asked. The oracle has no lines where no question says where its evidence is: it saw what uniform saw.
    """
    names = sorted({a.system for a in answers} - ({CEILING} if lacks_evidence(answers) else set()))
    judge = scorer(by) if isinstance(by, str) else by
    graded = {name: grade([a for a in answers if a.system == name], judge) for name in names}
    found = {}
    for name, own in graded.items():
        lines = report(own, macro_over)
        if lines:
            grounded = grounding_metrics(own) if own.answers[0].dataset == "nextgqa" else {}
            size = sum(bool(a.evidence_s) for a in own.answers)
            lines += [Line(metric, size, value, math.nan, math.nan) for metric, value in grounded.items()]
            unread = own.num_unread / len(own.answers)
            lines.append(Line("nothing read", len(own.answers), unread, math.nan, math.nan))
            for other in map(scorer, judge.companions):
                lines += total(grade(own.answers, other), other.name)
            lines += gap_lines(graded, name)
        found[name] = lines
    return found


def score_table(systems: Mapping[str, list[Line]], title: str) -> Table:
    """Lines against systems, in percent with 95 % intervals clustered by video (none where there is one video).

    The gap that is closed stands here for all questions together; ``scores.json`` has it for every group.
    """
    table = Table(title=f"{title}, %", title_justify="left")
    table.add_column("")
    table.add_column("questions", justify="right")
    for system in systems:
        table.add_column(system, justify="right")
    by_name = {system: {line.name: line for line in lines} for system, lines in systems.items()}
    every = dict.fromkeys(name for lines in by_name.values() for name in lines)
    names = [name for name in every if not name.startswith("gap closed,")]
    for name in names:
        cells, size = [], ""
        for lines in by_name.values():
            line = lines.get(name)
            size = str(line.num_questions) if line else size
            cells.append("" if line is None else _cell(line))
        bold = name in ("micro", "gap closed") or name.startswith("macro")
        table.add_row(name, size, *cells, style="bold" if bold else None)
    return table


def _cell(line: Line) -> str:
    if math.isnan(line.value):
        return "-"
    value = f"{100 * line.value:.1f}"
    return value if math.isnan(line.low) else f"{value} [{100 * line.low:.1f}, {100 * line.high:.1f}]"
