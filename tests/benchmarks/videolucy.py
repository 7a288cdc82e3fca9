"""VideoLucy's systems side by side, from what runs have answered: accuracy, calls, seconds of video in captions.

    python tests/benchmarks/videolucy.py "ten minutes=RUN,RUN" "one hour=RUN" --picture docs/images/videolucy_cost.png

Runs behind one name are pooled; they are seeds of one setting. Each system's row has the share of right answers with
its 95 % interval (videos resampled, all their questions and seeds together), right answers by run, calls of the
reasoner and captions a question, seconds of video that captions described beyond the coarse memory (each look counts
its period and its parts), and how often it was certain. The picture shows accuracy against calls and those seconds.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from modules.colours import BLACK, BLUE, GREEN, GREY, ORANGE, PINK, SKY, VERMILION
from modules.evaluation.answer_files import Answered, read_answered
from modules.evaluation.statistics import cluster_bootstrap
from modules.systems.grading import most_probable_option

_COLOURS = (GREY, ORANGE, BLACK, SKY, GREEN, VERMILION, PINK, BLUE)
"""Of Okabe and Ito, and a grey."""
_MARKERS = "os^Dv"


@dataclass(frozen=True)
class Row:
    """One system in one setting."""

    setting: str
    system: str
    right: float
    interval: tuple[float, float]
    by_run: tuple[float, ...]
    questions: int
    calls: float
    """Of the reasoner, a question."""
    captions: float
    """All of them, the coarse ones too."""
    deeper_s: float
    """Seconds of video that were captioned beyond the coarse memory."""
    certain_frac: float
    certain_right: float
    """NaN where it never is."""
    forced_right: float


def rows_of(setting: str, runs: list[Path]) -> list[Row]:
    """A row a system, in the order in which they answered."""
    by_system: dict[str, list[tuple[int, Answered]]] = defaultdict(list)
    for number, run in enumerate(runs):
        for one in read_answered(run):
            by_system[one.answer.system].append((number, one))
    return [_row(setting, system, answered, len(runs)) for system, answered in by_system.items()]


def _row(setting: str, system: str, answered: list[tuple[int, Answered]], num_runs: int) -> Row:
    run = np.array([number for number, _ in answered])
    ones = [one for _, one in answered]
    right = np.array([float(most_probable_option(one.answer) == one.answer.answer_index) for one in ones])
    videos = np.unique([one.answer.video for one in ones], return_inverse=True)[1]
    forced = np.array([one.answer.exit == "forced" for one in ones])
    calls = [sum(step.cost.calls for step in one.trace if step.role == "reasoner") for one in ones]
    captions = [(0 if one.cost is None else one.cost.calls) - n for one, n in zip(ones, calls, strict=True)]
    return Row(
        setting,
        system,
        float(right.mean()),
        cluster_bootstrap(lambda index: float(right[index].mean()), videos),
        tuple(float(right[run == number].mean()) for number in range(num_runs) if (run == number).any()),
        len(ones),
        float(np.mean(calls)),
        float(np.mean(captions)) if any(one.trace for one in ones) else 0.0,
        float(np.mean([deeper_seconds(one) for one in ones])),
        float(1 - forced.mean()),
        float(right[~forced].mean()) if (~forced).any() else float("nan"),
        float(right[forced].mean()) if forced.any() else float("nan"),
    )


def deeper_seconds(one: Answered) -> float:
    """Seconds that were captioned in looks; the coarse memory, which is shared by all questions, is left out."""
    looks = [step for step in one.trace if step.role == "captioner" and step.action == "describe again"]
    return sum(end - start for step in looks for start, end in step.spans_s)


def table(rows: list[Row]) -> str:
    """As the pages have it."""
    columns = ["setting", "system", "right", "95 %", "by run", "calls", "captions", "deeper seconds"]
    columns += ["certain", "right then", "right if forced"]
    lines = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    for row in rows:
        by_run = " ".join(f"{value:.2f}" for value in row.by_run)
        agent = row.calls > 0
        exits = (
            [f"{row.certain_frac:.2f}", f"{row.certain_right:.2f}", f"{row.forced_right:.2f}"] if agent else [""] * 3
        )
        cells = [
            *(row.setting, row.system, f"{row.right:.3f}", f"{row.interval[0]:.2f} to {row.interval[1]:.2f}", by_run),
            *(f"{row.calls:.1f}", f"{row.captions:.0f}", f"{row.deeper_s:.0f}", *exits),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def picture(rows: list[Row], path: Path, title: str) -> None:
    """Accuracy against calls and against captioned seconds; systems that do not look back lie at 0.

    A colour is a system, a form a setting.
    """
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    figure = Figure(figsize=(11, 5.4), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    systems, settings = list(dict.fromkeys(r.system for r in rows)), list(dict.fromkeys(r.setting for r in rows))
    colours = {name: _COLOURS[n % len(_COLOURS)] for n, name in enumerate(systems)}
    markers = {name: _MARKERS[n % len(_MARKERS)] for n, name in enumerate(settings)}
    for row in rows:
        error = [[row.right - row.interval[0]], [row.interval[1] - row.right]]
        for axes, x in ((left, row.calls), (right, row.deeper_s)):
            axes.errorbar(
                x, row.right, error, fmt=markers[row.setting], color=colours[row.system], capsize=3, alpha=0.85
            )
    left.set_xlabel("calls of the reasoner, a question")
    right.set_xlabel("seconds of video captioned in looks, a question")
    left.set_ylabel("right answers (95 %, by video)")
    left.set_ylim(0, 1.02)
    for axes in (left, right):
        axes.grid(alpha=0.3)
    shown = [Line2D([], [], color=colour, linewidth=4, label=name) for name, colour in colours.items()]
    if len(settings) > 1:
        shown += [Line2D([], [], color="#333333", marker=m, linestyle="", label=name) for name, m in markers.items()]
    figure.legend(handles=shown, loc="outside lower center", ncols=5, frameon=False)
    figure.suptitle(title)
    figure.savefig(path, dpi=100)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("settings", nargs="+", help="NAME=RUN,RUN,...")
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--title", default="What looking back costs, and what it brings")
    options = parser.parse_args()
    rows: list[Row] = []
    for setting in options.settings:
        name, _, runs = setting.partition("=")
        if not runs:
            parser.error(f"{setting!r} has to be NAME=RUN, or several runs of one setting separated by commas")
        rows += rows_of(name, [Path(run) for run in runs.split(",")])
    print(table(rows))
    if options.picture is not None:
        picture(rows, options.picture, options.title)


if __name__ == "__main__":
    main()
