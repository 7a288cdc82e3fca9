"""How much is answered, and found, in videos of several lengths, as a picture: runs of one recipe, tested at each.

    python tests/benchmarks/lengths.py --at 38 outputs/a_s{0,1,2} --at 75 outputs/twice_s{0,1,2} --to FILE.png

Numbers are as in seeds.py: means over seeds, 95 % intervals with videos resampled.
"""

from __future__ import annotations

import argparse

import matplotlib.pyplot as plt
import numpy as np
from seeds import Questions, load

from modules.evaluation.statistics import cluster_bootstrap

LINES = {
    "oracle": ("the memories with the evidence", "#555555"),
    "after": ("the trained choice", "#c2452d"),
    "recent": ("the last four", "#8a7cc2"),
    "uniform": ("four evenly spaced", "#2d78c2"),
    "random": ("four at random", "#5aa469"),
}


def curve(questions: list[Questions], system: str) -> np.ndarray:
    """(3, lengths): mean, low, high."""
    points = []
    for one in questions:
        values = one.values[system]
        mean = lambda i, v=values: float(np.nanmean(v[i]))  # noqa: E731
        points.append((mean(np.arange(len(values))), *cluster_bootstrap(mean, one.videos)))
    return np.array(points).T


def draw(axis: plt.Axes, lengths: list[int], points: np.ndarray, label: str, colour: str) -> None:
    mean, low, high = points
    axis.plot(lengths, mean, "o-", color=colour, label=label)
    axis.fill_between(lengths, low, high, color=colour, alpha=0.15, linewidth=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--at", nargs="+", action="append", required=True, metavar="CLIPS RUN")
    parser.add_argument("--to", required=True)
    parser.add_argument("--title", default="")
    options = parser.parse_args()
    lengths = [int(at[0]) for at in options.at]
    runs = [load(at[1:]) for at in options.at]
    figure, (answered, found) = plt.subplots(1, 2, figsize=(12.5, 4.4))
    for system, (label, colour) in LINES.items():
        draw(answered, lengths, curve([Questions(rows) for rows in runs], system), label, colour)
    answered.axhline(0.25, color="#999999", linestyle=":", label="guessing")
    for kind, colour in zip(sorted(runs[0]["kind"].unique()), plt.colormaps["Dark2"].colors, strict=False):
        of_kind = [Questions(rows[rows["kind"] == kind], "evidence_found") for rows in runs]
        draw(found, lengths, curve(of_kind, "after"), kind, colour)
    answered.set_ylabel("answered rightly, all questions")
    found.set_ylabel("evidence that it finds, by kind")
    for axis in (answered, found):
        axis.set(xscale="log", xlabel="clips of a video (the first number is that of training)", ylim=(-0.02, 1.02))
        axis.set_xticks(lengths, [str(n) for n in lengths])
        axis.minorticks_off()
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    figure.suptitle(options.title)
    figure.tight_layout()
    figure.savefig(options.to, dpi=100)


if __name__ == "__main__":
    main()
