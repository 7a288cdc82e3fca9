"""Several seeds of one recipe as Markdown tables; two sets of runs also as a paired difference.

    python tests/benchmarks/seeds.py outputs/a_s0 outputs/a_s1 outputs/a_s2 [--against outputs/b_s0 ...] [--evidence]
        [--kinds needle order] [--of kairos]

Reads the ``test_rows.csv`` of each run, of trainings or of comparisons; ``--of`` names the system that the others are
held against, ``after`` by default. A question's value is its mean over seeds; intervals are 95 %, videos
resampled; the spread is the standard deviation of the seeds' means. *Gap closed* is the share of the way from uniform
to oracle; nats are -log of the right option's probability among the options, so that log 4 = 1.39 is ignorance.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from modules.evaluation.statistics import cluster_bootstrap, gap_closed

SYSTEMS = ("blind", "uniform", "random", "recent", "clip_topk", "before", "after", "oracle")
"""In the order of their columns, before all others; a run has some of them."""


def load(run_dirs: list[str], kinds: list[str] | None = None) -> pd.DataFrame:
    """All rows of all runs, of some kinds of questions, with columns ``run`` and ``nats``."""
    frames = []
    for run_dir in run_dirs:
        rows = pd.read_csv(Path(run_dir) / "test_rows.csv", dtype={"sample_id": str})
        frames.append(rows.assign(run=run_dir, nats=-np.log(rows["probability"])))
    every = pd.concat(frames, ignore_index=True)
    return every if kinds is None else every[every["kind"].isin(kinds)]


class Questions:
    """A value of each question and system, the mean over seeds.

    Args:
        rows: of all runs.
        value: name of a column.
    """

    def __init__(self, rows: pd.DataFrame, value: str = "correct") -> None:
        wide = rows.groupby(["sample_id", "system"])[value].mean().unstack()
        self.values = {system: wide[system].to_numpy() for system in ordered(rows["system"])}
        self.videos = rows.drop_duplicates("sample_id").set_index("sample_id")["video"].loc[wide.index].to_numpy()

    def __len__(self) -> int:
        return len(self.videos)

    def mean(self, system: str) -> str:
        values = self.values[system]
        return f"{values.mean():.3f} {interval(cluster_bootstrap(lambda i: float(values[i].mean()), self.videos))}"

    def gap(self, system: str) -> str:
        value, floor, ceiling = (self.values[name] for name in (system, "uniform", "oracle"))
        low_high = cluster_bootstrap(lambda i: gap_closed(value[i], floor[i], ceiling[i]), self.videos)
        return f"{gap_closed(value, floor, ceiling):.2f} {interval(low_high, 2)}"

    def difference(self, system: str, other: np.ndarray) -> str:
        delta = self.values[system] - other
        return f"{delta.mean():+.3f} {interval(cluster_bootstrap(lambda i: float(delta[i].mean()), self.videos))}"


def ordered(systems: pd.Series) -> list[str]:
    """The names of systems, each once."""
    found = list(dict.fromkeys(systems))
    return [s for s in SYSTEMS if s in found] + [s for s in found if s not in SYSTEMS]


def interval(low_high: tuple[float, float], digits: int = 3) -> str:
    low, high = low_high
    return f"[{low:.{digits}f}, {high:.{digits}f}]"


def by_system(rows: pd.DataFrame, of: str = "after") -> list[str]:
    """One row a system: how much is right, by seed, with how much of the evidence and which share of the gap."""
    correct, found, nats = Questions(rows), Questions(rows, "evidence_found"), Questions(rows, "nats")
    heads = [
        "system",
        "answered rightly",
        "seeds",
        "spread",
        "evidence found",
        "nats",
        "gap closed",
        f"{of} is better by",
    ]
    lines = heading(heads)
    for system in correct.values:
        by_seed = rows[rows["system"] == system].groupby("run", sort=False)["correct"].mean()
        cells = [system, correct.mean(system), ", ".join(f"{v:.3f}" for v in by_seed), f"{by_seed.std():.3f}"]
        cells += [f"{np.nanmean(one.values[system]):.2f}" for one in (found, nats)]
        cells += [correct.gap(system), correct.difference(of, correct.values[system])]
        lines.append(row(cells))
    return lines


def by_kind(rows: pd.DataFrame, of: str = "after") -> list[str]:
    """One row a kind of question: how much of it each system answers, and how much of its evidence is found."""
    systems = [*Questions(rows).values]
    chosen = [system for system in systems if system not in ("blind", "oracle")]
    heads = ["kind", "questions", *systems, f"gap closed by {of}", *(f"evidence found: {s}" for s in chosen)]
    lines = heading(heads)
    for kind in ["all", *sorted(rows["kind"].unique())]:
        part = rows if kind == "all" else rows[rows["kind"] == kind]
        correct, found = Questions(part), Questions(part, "evidence_found")
        cells = [kind, str(len(correct)), *(f"{correct.values[s].mean():.3f}" for s in systems), correct.gap(of)]
        lines.append(row([*cells, *(f"{np.nanmean(found.values[s]):.2f}" for s in chosen)]))
    return lines


def by_evidence(rows: pd.DataFrame) -> list[str]:
    """One row a system, kind and share of the evidence among what it chose: what the answerer makes of that."""
    shares = rows["evidence_found"].map(lambda share: "all" if share == 1 else "a part" if share > 0 else "none")
    lines = heading(["system", "kind", "evidence chosen", "cases", "answered rightly", "probability", "nats"])
    for system in [s for s in ordered(rows["system"]) if s not in ("blind", "oracle")]:
        for kind in ["all", *sorted(rows["kind"].unique())]:
            of_kind = (rows["system"] == system) & ((kind == "all") | (rows["kind"] == kind))
            for share in ("all", "a part", "none"):
                part = rows[of_kind & (shares == share)]
                means = [f"{part[name].mean():.2f}" for name in ("correct", "probability", "nats")] if len(part) else []
                lines += [row([system, kind, share, str(len(part)), *means])] if len(part) else []
    return lines


def heading(names: list[str]) -> list[str]:
    return [row(names), "|---" * len(names) + "|"]


def row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def report(rows: pd.DataFrame, with_evidence: bool, of: str) -> str:
    return "\n".join(
        [*by_system(rows, of), "", *by_kind(rows, of), *(["", *by_evidence(rows)] if with_evidence else [])]
    )


def paired(known: Questions, other: Questions) -> str:
    """How much more is right than in the other runs, by system."""
    if known.videos.tolist() != other.videos.tolist():
        raise ValueError("the two sets of runs were not asked the same questions, so nothing can be paired")
    both = [system for system in known.values if system in other.values]
    lines = [f"- {system}: {known.difference(system, other.values[system])}" for system in both]
    return "\n".join(["difference of the two, paired:", *lines])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("runs", nargs="+")
    parser.add_argument("--against", nargs="*", default=[])
    parser.add_argument("--evidence", action="store_true", help="also by how much of the evidence was chosen")
    parser.add_argument("--kinds", nargs="+", help="of questions; all by default")
    parser.add_argument("--of", default="after", help="the system that others are held against")
    options = parser.parse_args()
    rows = load(options.runs, options.kinds)
    print(report(rows, options.evidence, options.of))
    if options.against:
        other = load(options.against, options.kinds)
        print(f"\n{report(other, options.evidence, options.of)}\n\n{paired(Questions(rows), Questions(other))}")


if __name__ == "__main__":
    main()
