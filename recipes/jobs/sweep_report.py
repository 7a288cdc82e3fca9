"""What a sweep's runs come to: tables of right answers, of the gap they close, per kind of question, and curves."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from rich.table import Table

from modules.colours import BLACK, SERIES
from modules.evaluation.statistics import cluster_bootstrap, gap_closed

_YARDSTICKS = ("uniform", "oracle")
_SMOOTHED_OVER = 15
_COLOURS = (*SERIES, BLACK)
_LINES = ("-", "--", ":")
_TITLES = {
    "reward/accuracy": "rollouts answered rightly",
    "policy/entropy_nats": "entropy of the policy, nats",
    "val/accuracy": "validation questions answered rightly",
}


@dataclass(frozen=True)
class Runs:
    """The runs of one row: a variant's folders, one a seed, and which system of their tests is meant."""

    folders: dict[int, Path]
    system: str

    def rows(self, system: str | None = None) -> pd.DataFrame:
        """Every question of every seed, by seed and sample_id: video, kind, correct, evidence_found and _repeated."""
        system = system or self.system
        parts = []
        for seed, folder in self.folders.items():
            rows = pd.read_csv(folder / "test_rows.csv")
            rows = rows.rename(columns={"arm": "system"})  # as it was called before
            if system not in set(rows["system"]):
                raise ValueError(f"{folder} has no system {system!r}; it has {sorted(set(rows['system']))}")
            parts.append(rows[rows["system"] == system].assign(seed=seed))
        columns = ["video", "kind", "correct", "evidence_found", "evidence_repeated"]
        return pd.concat(parts).set_index(["seed", "sample_id"]).reindex(columns=columns)

    def gap(self, like: pd.DataFrame) -> dict[str, Any]:
        """Share of the uniform-to-oracle gap that is closed, with interval; nothing where a run had no such systems."""
        try:
            floor, ceiling = (self.rows(system).loc[like.index, "correct"].to_numpy() for system in _YARDSTICKS)
        except ValueError:
            return {}
        correct = like["correct"].to_numpy()
        low, high = cluster_bootstrap(lambda i: gap_closed(correct[i], floor[i], ceiling[i]), like["video"].to_numpy())
        return {"gap_closed": gap_closed(correct, floor, ceiling), "gap_low": low, "gap_high": high}

    def curve(self, metric: str) -> pd.DataFrame:
        """A metric of training, a column a seed, by update; empty where it was not kept."""
        columns = {}
        for seed, folder in self.folders.items():
            points = pd.read_csv(folder / "curve.csv")
            columns[seed] = points[points["metric"] == metric].set_index("step")["value"]
        return pd.DataFrame(columns).dropna(how="all")


def accuracies(runs: dict[str, Runs], reference: str) -> pd.DataFrame:
    """One line a row: accuracy, that of each seed, share of the gap, and the paired difference to the reference.

    Intervals are of videos drawn with replacement (95 %); a video's questions and seeds stay together.
    """
    base = runs[reference].rows()
    records = []
    for name, row in runs.items():
        rows = row.rows().loc[base.index]
        correct, videos = rows["correct"].to_numpy(), rows["video"].to_numpy()
        difference = correct - base["correct"].to_numpy()
        low, high = _interval(correct, videos)
        below, above = _interval(difference, videos)
        records.append(
            {
                "row": name,
                "accuracy": float(correct.mean()),
                "low": low,
                "high": high,
                "seeds": [float(np.mean(part)) for _, part in rows["correct"].groupby(level="seed")],
                **row.gap(rows),
                "difference": float(difference.mean()),
                "difference_low": below,
                "difference_high": above,
            }
        )
    return pd.DataFrame(records)


def by_kind(runs: dict[str, Runs]) -> pd.DataFrame:
    """Row, kind of question, accuracy, share of the evidence found, and share of frames in evidence that repeat it."""
    parts = [row.rows().groupby("kind").mean(numeric_only=True).assign(row=name) for name, row in runs.items()]
    return pd.concat(parts).reset_index().rename(columns={"correct": "accuracy"})


def accuracy_table(table: pd.DataFrame, reference: str, seeds: list[int]) -> Table:
    """For the terminal."""
    shown = Table(title=f"Right answers, seeds {seeds}")
    for name in ("row", "right [95 %]", "each seed", "gap closed", f"against {reference}"):
        shown.add_column(name, justify="left" if name == "row" else "right")
    for r in table.to_dict("records"):
        shown.add_row(
            str(r["row"]),
            f"{r['accuracy']:.3f} [{r['low']:.3f}, {r['high']:.3f}]",
            " ".join(f"{s:.3f}" for s in r["seeds"]),
            f"{r['gap_closed']:.0%} [{r['gap_low']:.0%}, {r['gap_high']:.0%}]" if "gap_closed" in r else "",
            ""
            if r["row"] == reference
            else f"{r['difference']:+.3f} [{r['difference_low']:+.3f}, {r['difference_high']:+.3f}]",
        )
    return shown


def kind_table(kinds: pd.DataFrame, column: str, title: str) -> Table:
    """One column of `by_kind`, kinds across."""
    wide = kinds.pivot(index="row", columns="kind", values=column).loc[kinds["row"].drop_duplicates()]
    shown = Table(title=title)
    shown.add_column("row")
    for kind in wide.columns:
        shown.add_column(str(kind), justify="right")
    for name, values in wide.iterrows():
        shown.add_row(str(name), *("" if np.isnan(v) else f"{v:.3f}" for v in values))
    return shown


def draw_curves(runs: dict[str, Runs], metrics: list[str], path: Path) -> None:
    """A panel a metric, a line a row: the mean over seeds, and from the least to the greatest of them."""
    figure = Figure(figsize=(5.2 * len(metrics), 4.6), dpi=90, layout="constrained")
    panels = figure.subplots(1, len(metrics), squeeze=False)[0]
    for axis, metric in zip(panels, metrics, strict=True):
        for number, (name, row) in enumerate(runs.items()):
            curve = row.curve(metric)
            if curve.empty:
                continue
            if len(curve) > 2 * _SMOOTHED_OVER:
                curve = curve.rolling(_SMOOTHED_OVER, min_periods=1).mean()
            colour, line = _COLOURS[number % len(_COLOURS)], _LINES[number // len(_COLOURS) % len(_LINES)]
            axis.plot(curve.index, curve.mean(axis=1), label=name, color=colour, linestyle=line)
            axis.fill_between(curve.index, curve.min(axis=1), curve.max(axis=1), color=colour, alpha=0.12)
        axis.set(title=_TITLES.get(metric, metric), xlabel="updates")
        axis.set_xlim(left=0)
        axis.grid(alpha=0.3)
    lines = {name: line for axis in panels for line, name in zip(*axis.get_legend_handles_labels(), strict=True)}
    legend = figure.legend(
        lines.values(), lines, loc="outside lower center", ncols=min(len(lines), 5) or 1, frameon=False
    )
    for text in legend.get_texts():
        text.set_parse_math(False)
    figure.savefig(path)


def _interval(values: np.ndarray, videos: np.ndarray) -> tuple[float, float]:
    """Of the mean, 95 %."""
    return cluster_bootstrap(lambda i: float(values[i].mean()), videos)
