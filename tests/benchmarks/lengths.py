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
VALUES = {"correct": "answered rightly", "evidence_found": "evidence found"}


def curve(questions: list[Questions], system: str) -> np.ndarray:
    """(lengths, 3): mean, low, high."""
    points = []
    for one in questions:
        values = one.values[system]
        mean = lambda i, v=values: float(np.nanmean(v[i]))  # noqa: E731
        points.append((mean(np.arange(len(values))), *cluster_bootstrap(mean, one.videos)))
    return np.array(points)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--at", nargs="+", action="append", required=True, metavar="CLIPS RUN")
    parser.add_argument("--to", required=True)
    parser.add_argument("--title", default="")
    options = parser.parse_args()
    lengths = [int(at[0]) for at in options.at]
    runs = [load(at[1:]) for at in options.at]
    figure, axes = plt.subplots(1, 2, figsize=(11, 4.2), sharex=True)
    for axis, (value, name) in zip(axes, VALUES.items(), strict=True):
        questions = [Questions(rows, value) for rows in runs]
        for system, (label, colour) in LINES.items():
            mean, low, high = curve(questions, system).T
            axis.plot(lengths, mean, "o-", color=colour, label=label)
            axis.fill_between(lengths, low, high, color=colour, alpha=0.15, linewidth=0)
        axis.set(xscale="log", xlabel="clips of a video", ylabel=name, ylim=(0, 1.02))
        axis.set_xticks(lengths, [str(n) for n in lengths], minor=False)
        axis.minorticks_off()
        axis.grid(alpha=0.3)
    axes[0].axhline(0.25, color="#999999", linestyle=":", label="guessing")
    axes[0].legend(fontsize=8, loc="upper right", bbox_to_anchor=(1.0, 0.72))
    figure.suptitle(options.title)
    figure.tight_layout()
    figure.savefig(options.to, dpi=110)


if __name__ == "__main__":
    main()
