"""Several seeds of one recipe as one Markdown table; two sets of runs also as a paired difference.

    python tests/benchmarks/seeds.py outputs/a_s0 outputs/a_s1 outputs/a_s2 [--against outputs/b_s0 ...]

A question's value is its mean over seeds; intervals are 95 %, videos resampled; the spread is the standard deviation of
the seeds' means.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from modules.evaluation.statistics import cluster_bootstrap, gap_closed


def load(run_dirs: list[str]) -> pd.DataFrame:
    """All rows of all runs, with a column ``run``."""
    frames = []
    for run_dir in run_dirs:
        rows = pd.read_csv(Path(run_dir) / "test_rows.csv")
        rows["sample_id"] = rows["sample_id"].astype(str)
        frames.append(rows.assign(run=run_dir))
    return pd.concat(frames, ignore_index=True)


def interval(low_high: tuple[float, float], percent: bool = False) -> str:
    low, high = low_high
    return f"[{low:.0%}, {high:.0%}]" if percent else f"[{low:.3f}, {high:.3f}]"


def table(rows: pd.DataFrame) -> list[str]:
    systems = ["blind", "uniform", "clip_topk", "before", "after", "oracle"]
    lines = [
        "| kind | questions | " + " | ".join(systems) + " | gap closed by after |",
        "|---" * (len(systems) + 3) + "|",
    ]
    for kind in ["all", *sorted(rows["kind"].unique())]:
        part = rows if kind == "all" else rows[rows["kind"] == kind]
        mean = part.groupby(["sample_id", "system"])["correct"].mean().unstack()
        cells = [f"{mean[system].mean():.3f}" for system in systems]
        videos = part.drop_duplicates("sample_id").set_index("sample_id")["video"].loc[mean.index].to_numpy()
        after, floor, ceiling = (mean[system].to_numpy() for system in ("after", "uniform", "oracle"))

        def share(i: np.ndarray, a: np.ndarray = after, f: np.ndarray = floor, c: np.ndarray = ceiling) -> float:
            return gap_closed(a[i], f[i], c[i])

        cells.append(f"{share(np.arange(len(after))):.0%} {interval(cluster_bootstrap(share, videos), percent=True)}")
        lines.append(f"| {kind} | {len(mean)} | " + " | ".join(cells) + " |")
    return lines


def overall(rows: pd.DataFrame) -> list[str]:
    mean = rows.groupby(["sample_id", "system"])["correct"].mean().unstack()
    videos = rows.drop_duplicates("sample_id").set_index("sample_id")["video"].loc[mean.index].to_numpy()
    lines = []
    for system in ("clip_topk", "after", "oracle"):
        values = mean[system].to_numpy()
        by_seed = rows[rows["system"] == system].groupby("run")["correct"].mean()
        ci = interval(cluster_bootstrap(lambda i, v=values: float(v[i].mean()), videos))
        seeds = ", ".join(f"{v:.3f}" for v in by_seed)
        lines.append(f"- {system}: {values.mean():.3f} {ci}; seeds {seeds}; spread {by_seed.std():.3f}")
    return lines


def difference(rows: pd.DataFrame, other: pd.DataFrame) -> str:
    a, b = (r[r["system"] == "after"].groupby("sample_id")["correct"].mean() for r in (rows, other))
    videos = rows.drop_duplicates("sample_id").set_index("sample_id")["video"].loc[a.index].to_numpy()
    delta = (a - b.loc[a.index]).to_numpy()
    ci = interval(cluster_bootstrap(lambda i: float(delta[i].mean()), videos))
    return f"- difference of the two, paired: {delta.mean():+.3f} {ci}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+")
    parser.add_argument("--against", nargs="*", default=[])
    options = parser.parse_args()
    rows = load(options.runs)
    print("\n".join([*table(rows), "", *overall(rows)]))
    if options.against:
        other = load(options.against)
        print("\n".join(["", *table(other), "", *overall(other), "", difference(rows, other)]))


if __name__ == "__main__":
    main()
