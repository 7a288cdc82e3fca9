"""The table at the end: uniform, CLIP top-k, the sampler before and after, and oracle, per kind of question."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pandas as pd
from rich.table import Table

from callbacks.tracking.mlflow_logger import mlflow_logger
from modules.console import PlainConsole
from modules.distributed.ranks import gather_lists
from modules.evaluation.statistics import cluster_bootstrap, gap_closed


def summarise(rows: pd.DataFrame) -> pd.DataFrame:
    """Accuracy of each arm, and the share of the uniform-to-oracle gap it closes, overall and per kind.

    Args:
        rows: one a question and arm, with columns arm, kind, video, sample_id, correct, evidence_found.

    Returns:
        One row for each kind and arm: num_questions, accuracy, low, high (95 %, clustered by video), evidence_found,
        gap_closed, gap_low, gap_high.
    """
    records = []
    for kind in ["all", *sorted(rows["kind"].unique())]:
        part = rows if kind == "all" else rows[rows["kind"] == kind]
        correct = part.pivot(index="sample_id", columns="arm", values="correct")
        evidence = part.groupby("arm")["evidence_found"].mean()
        videos = part.drop_duplicates("sample_id").set_index("sample_id")["video"].loc[correct.index].to_numpy()
        floor, ceiling = (correct[arm].to_numpy() if arm in correct else None for arm in ("uniform", "oracle"))
        for arm in correct.columns:
            values = correct[arm].to_numpy()
            low, high = cluster_bootstrap(lambda i, v=values: float(v[i].mean()), videos)
            record = {
                "kind": kind, "arm": arm, "num_questions": len(values), "accuracy": values.mean(),
                "low": low, "high": high, "evidence_found": evidence[arm],
            }  # fmt: skip
            if floor is not None and ceiling is not None:
                record["gap_closed"] = gap_closed(values, floor, ceiling)
                record["gap_low"], record["gap_high"] = cluster_bootstrap(
                    lambda i, v=values, f=floor, c=ceiling: gap_closed(v[i], f[i], c[i]), videos
                )
            records.append(record)
    return pd.DataFrame(records)


class Comparison(L.Callback):
    """Collects test rows, writes ``test_rows.csv`` and ``test_summary.json``, prints the table and what comes next.

    Args:
        run_dir: where the files go.
        columns: arms to print, in order, with the name they are printed under.
        next_command: printed last; ``{checkpoint}`` is replaced.
    """

    def __init__(self, *, run_dir: str, columns: dict[str, str] | None = None, next_command: str | None = None) -> None:
        self.run_dir, self.next_command = Path(run_dir), next_command
        self.columns = columns or {
            "blind": "blind", "uniform": "uniform", "clip_topk": "CLIP top-k", "before": "before", "after": "after",
            "oracle": "oracle",
        }  # fmt: skip
        self.rows: list[dict[str, Any]] = []

    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.rows = []

    def on_test_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, *_: Any) -> None:
        self.rows += outputs

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.rows = gather_lists(self.rows, key=lambda row: (row["sample_id"], row["arm"]))
        if not trainer.is_global_zero:
            return
        rows = pd.DataFrame(self.rows).sort_values(["sample_id", "arm"], ignore_index=True)
        if "kind" not in rows:
            rows["kind"] = "question"
        self.run_dir.mkdir(parents=True, exist_ok=True)
        rows.to_csv(self.run_dir / "test_rows.csv", index=False)
        summary = summarise(rows)
        (self.run_dir / "test_summary.json").write_text(json.dumps(summary.to_dict("records"), indent=2) + "\n")
        overall = summary[summary["kind"] == "all"].set_index("arm")
        if (mlflow := mlflow_logger(trainer)) is not None:
            names = {arm: str(arm).replace(",", "") for arm in overall.index}  # MLflow takes no commas
            metrics = {f"test/accuracy_{names[arm]}": float(row["accuracy"]) for arm, row in overall.iterrows()}
            mlflow.log_metrics(metrics, trainer.global_step)
            for name in ("test_rows.csv", "test_summary.json"):
                mlflow.log_file(self.run_dir / name)
        self._print(trainer, summary, overall)

    def _print(self, trainer: L.Trainer, summary: pd.DataFrame, overall: pd.DataFrame) -> None:
        console = PlainConsole()
        num_videos = len({row["video"] for row in self.rows})
        table = Table(
            title=f"Accuracy on {int(overall['num_questions'].iloc[0])} held-out questions, {num_videos} videos"
        )
        table.add_column("kind")
        arms = {arm: name for arm, name in self.columns.items() if arm in overall.index}
        for name in (*arms.values(), "gap closed"):
            table.add_column(name, justify="right")
        for kind, part in summary.groupby("kind", sort=False):
            part = part.set_index("arm")
            cells = [f"{part.loc[arm, 'accuracy']:.3f}" for arm in arms]
            cells.append(_share(part.loc["after"]) if "after" in part.index and "gap_closed" in part else "")
            table.add_row(str(kind), *cells, style="bold" if kind == "all" else None, end_section=kind == "all")
        console.print(table)
        if "after" in overall.index and "gap_low" in overall:
            row = overall.loc["after"]
            console.print(
                f"after: {row['accuracy']:.3f} [{row['low']:.3f}, {row['high']:.3f}], closes {_share(row)} "
                f"[{row['gap_low']:.0%}, {row['gap_high']:.0%}] of the gap between uniform and oracle "
                "(95 %, clustered by video)"
            )
        checkpoint = getattr(trainer.checkpoint_callback, "last_model_path", "") or trainer.ckpt_path or ""
        console.print(f"run         {self.run_dir}", f"images      {self.run_dir / 'images'}", sep="\n")
        console.print(f"checkpoint  {checkpoint}", soft_wrap=True)
        if (mlflow := mlflow_logger(trainer)) is not None:
            console.print(f"look        mlflow ui --backend-store-uri {mlflow.tracking_uri}", soft_wrap=True)
        if self.next_command:
            example = self.next_command.format(checkpoint=checkpoint, video=self.rows[0]["video"])
            console.print(f"next        {example}", soft_wrap=True)


def _share(row: pd.Series) -> str:
    return "-" if np.isnan(row["gap_closed"]) else f"{row['gap_closed']:.0%}"
