"""Several recipes in several variants and seeds, one after another, into one table with paired comparisons.

Each run is ``lightning run`` of its own and lies in a folder of its own; one that is finished is not run again, so a
sweep that was cut off goes on where it stopped.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from modules.statistics import cluster_bootstrap
from recipes.jobs.base import Job


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One row of the table.

    Args:
        recipe: file.
        overrides: ``key: value`` over it; ``{out}`` and ``{seed}`` are filled in, so that a variant can name another's
            checkpoint: ``{out}/stage1_s{seed}/checkpoints/last.ckpt``.
        overlays: more files.
        arm: of the run's test, which is shown.
    """

    recipe: str
    overrides: dict[str, Any] = field(default_factory=dict)
    overlays: list[str] = field(default_factory=list)
    arm: str = "after"


class Sweep(Job):
    """Args:
    variants: by name, in the order they run; a later one may start from an earlier one's checkpoint.
    shown: rows of the table: name of the row, and ``[variant, arm]`` of it; by default each variant with its own arm.
    reference: the row that others are compared with.
    seeds: of every variant.
    out: folder of the runs.
    """

    def __init__(
        self,
        *,
        variants: dict[str, Variant],
        shown: dict[str, tuple[str, str]] | None = None,
        reference: str,
        seeds: list[int],
        out: str,
    ) -> None:
        self.variants, self.seeds, self.out = variants, seeds, Path(out)
        self.shown = shown or {name: (name, v.arm) for name, v in variants.items()}
        unknown = {variant for variant, _ in self.shown.values()} - variants.keys()
        if unknown or reference not in self.shown:
            raise ValueError(f"shown names {sorted(unknown) or [reference]}; there are {sorted(variants)}")
        self.reference = reference

    def run(self, run_dir: Path) -> None:
        for seed in self.seeds:
            for name in self.variants:
                self._run(name, seed)
        table = self.table()
        run_dir.mkdir(parents=True, exist_ok=True)
        table.to_json(run_dir / "sweep.json", orient="records", indent=2)
        self._print(table, run_dir)

    def folder(self, variant: str, seed: int) -> Path:
        """Of one run."""
        return self.out / f"{variant}_s{seed}"

    def _run(self, name: str, seed: int) -> None:
        variant, folder = self.variants[name], self.folder(name, seed)
        if (folder / "test_summary.json").is_file():
            return
        words = [sys.executable, "-m", "recipes", "run", variant.recipe, "--run_dir", str(folder), "--resume", "auto"]
        for file in variant.overlays:
            words += ["--overlay", file]
        for key, value in {"seed_everything": seed, **variant.overrides}.items():
            text = value if isinstance(value, str) else json.dumps(value)
            words += [f"--{key}", text.replace("{out}", str(self.out)).replace("{seed}", str(seed))]
        folder.mkdir(parents=True, exist_ok=True)
        Console().print(f"running     {name}, seed {seed}; log {folder / 'log.txt'}", highlight=False, soft_wrap=True)
        with (folder / "log.txt").open("a") as log:
            ended = subprocess.run(words, stdout=log, stderr=subprocess.STDOUT, check=False)
        if ended.returncode:
            tail = (folder / "log.txt").read_text()[-2000:]
            raise ValueError(
                f"{name} with seed {seed} ended with status {ended.returncode}; {folder / 'log.txt'} ends with\n{tail}"
            )

    def rows(self, shown: str) -> pd.DataFrame:
        """Every question of every seed of one row: seed, sample_id, video, correct."""
        variant, arm = self.shown[shown]
        parts = []
        for seed in self.seeds:
            rows = pd.read_csv(self.folder(variant, seed) / "test_rows.csv")
            if arm not in set(rows["arm"]):
                raise ValueError(f"{variant} has no arm {arm!r}; it has {sorted(set(rows['arm']))}")
            parts.append(rows[rows["arm"] == arm].assign(seed=seed))
        return pd.concat(parts)[["seed", "sample_id", "video", "correct"]]

    def table(self) -> pd.DataFrame:
        """Accuracy with interval, that of each seed, and the paired difference to the reference.

        Intervals are of videos drawn with replacement (95 %); a video's questions and seeds stay together.
        """
        base = self.rows(self.reference).set_index(["seed", "sample_id"])
        records = []
        for name in self.shown:
            rows = self.rows(name).set_index(["seed", "sample_id"]).loc[base.index]
            correct, videos = rows["correct"].to_numpy(), rows["video"].to_numpy()
            difference = correct - base["correct"].to_numpy()
            low, high = _interval(correct, videos)
            below, above = _interval(difference, videos)
            records.append({
                "row": name, "accuracy": float(correct.mean()), "low": low, "high": high,
                "seeds": [float(np.mean(part)) for _, part in rows["correct"].groupby(level="seed")],
                "difference": float(difference.mean()), "difference_low": below, "difference_high": above,
            })  # fmt: skip
        return pd.DataFrame(records)

    def _print(self, table: pd.DataFrame, run_dir: Path) -> None:
        shown = Table(title=f"Right answers, seeds {self.seeds}")
        for name in ("row", "right [95 %]", "each seed", f"against {self.reference}"):
            shown.add_column(name, justify="left" if name == "row" else "right")
        for r in table.to_dict("records"):
            shown.add_row(
                str(r["row"]), f"{r['accuracy']:.3f} [{r['low']:.3f}, {r['high']:.3f}]",
                " ".join(f"{s:.3f}" for s in r["seeds"]),
                "" if r["row"] == self.reference
                else f"{r['difference']:+.3f} [{r['difference_low']:+.3f}, {r['difference_high']:+.3f}]",
            )  # fmt: skip
        console = Console(width=max(120, Console().width))
        console.print(shown)
        console.print(f"runs        {self.out}\nnumbers     {run_dir / 'sweep.json'}", highlight=False)


def _interval(values: np.ndarray, videos: np.ndarray) -> tuple[float, float]:
    """Of the mean, 95 %."""
    return cluster_bootstrap(lambda i: float(values[i].mean()), videos)
