"""What systems cost, a question on average: frames, tokens, calls and seconds beside every table of scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.table import Table

from modules.evaluation.answer_files import Answered
from modules.records import Cost

_COUNTS = (
    "frames_decoded",
    "frames_scored",
    "frames_shown",
    "visual_tokens",
    "text_tokens_in",
    "text_tokens_out",
    "calls",
)


def cost_lines(answered: Sequence[Answered]) -> dict[str, dict[str, float | None]]:
    """Means a question of each system; None where it was not told, and seconds by part as ``seconds/PART``."""
    costs: dict[str, list[Cost]] = {}
    for one in answered:
        if one.cost is not None:
            costs.setdefault(one.answer.system, []).append(one.cost)
    return {system: _means(own) for system, own in sorted(costs.items())}


def _means(costs: Sequence[Cost]) -> dict[str, float | None]:
    total = sum(costs, Cost())
    means: dict[str, float | None] = {}
    for name in _COUNTS:
        count = getattr(total, name)
        means[name] = None if count is None else count / len(costs)
    means |= {f"seconds/{part}": seconds / len(costs) for part, seconds in total.seconds.items()}
    means["seconds"] = sum(total.seconds.values()) / len(costs)
    return means


def cost_table(answered: Sequence[Answered], columns: Mapping[str, str]) -> Table:
    """A line a kind of cost, a column a system.

    Args:
        answered: of all systems.
        columns: systems in order, with the name they are printed under.
    """
    lines = cost_lines(answered)
    table = Table(title="Cost of a question, on average", title_justify="left")
    table.add_column("")
    shown = {system: title for system, title in columns.items() if system in lines}
    for title in shown.values():
        table.add_column(title, justify="right")
    for name in (*_COUNTS, "seconds"):
        cells = []
        for system in shown:
            value = lines[system][name]
            cells.append("not told" if value is None else f"{value:.3f}" if name == "seconds" else f"{value:.1f}")
        table.add_row(name.replace("_", " "), *cells)
    return table
