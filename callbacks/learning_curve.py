"""The learning curve as one picture, drawn when training ends: reward, held-out accuracy, entropy."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import lightning as L
import matplotlib
import numpy as np

from callbacks.after_update import AfterUpdate
from callbacks.tracking.run_logger import run_loggers
from modules.files.whole_files import write_whole

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.ticker import FuncFormatter

plt.rcParams["text.parse_math"] = False  # a kind of question may have dollars in its name

_TRACKED = ("reward/total", "reward/accuracy", "reward/zero_std_frac", "policy/entropy_nats", "policy/effective_frames")


class LearningCurve(AfterUpdate):
    """Collects a few metrics, writes ``curve.csv`` at each checkpoint and validation, and draws ``learning_curve.png``.

    The checkpoint holds the points, and the file is what they are: after a resume it is that of the checkpoint, and
    goes on as that of a run that was never stopped.

    Args:
        run_dir: where the files go.
    """

    def __init__(self, *, run_dir: str) -> None:
        self.csv, self.png = Path(run_dir) / "curve.csv", Path(run_dir) / "learning_curve.png"
        self.points: list[tuple[int, str, float]] = []

    def state_dict(self) -> dict[str, Any]:
        return {"points": self.points}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.points = [tuple(p) for p in state_dict["points"]]

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._write(trainer)
        self._make_up_for_validation(trainer)

    def _make_up_for_validation(self, trainer: L.Trainer) -> None:
        """A checkpoint is written before its step's validation, which a run that was stopped there has never had."""
        loop = trainer.fit_loop.epoch_loop
        every = trainer.val_check_batch
        due = trainer.global_step > 0 and every is not None and (loop.total_batch_idx + 1) % every == 0
        known = any(step == trainer.global_step and name.startswith("val/") for step, name, _ in self.points)
        if due and not known and trainer.enable_validation:
            trainer.validating = True
            loop.val_loop.run()
            trainer.training = True

    def on_update_end(self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any) -> None:
        for name in _TRACKED:
            if name in trainer.callback_metrics:
                self.points.append((trainer.global_step, name, float(trainer.callback_metrics[name])))

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            for name, value in trainer.callback_metrics.items():
                if name.startswith("val/"):
                    self.points.append((trainer.global_step, name, float(value)))
            self._write(trainer)

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        self._write(trainer)

    # fit, not train: a run that was stopped after its last update has none left to resume, and still wants its picture
    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._make_up_for_validation(trainer)
        if not trainer.is_global_zero or not self.points:
            return
        self._write(trainer)
        self.draw()
        for logger in run_loggers(trainer):
            logger.log_file(self.csv)
            logger.log_picture(self.png, "learning_curve", trainer.global_step)

    def _write(self, trainer: L.Trainer) -> None:
        if trainer.is_global_zero:
            text = io.StringIO(newline="")
            csv.writer(text).writerows([("step", "metric", "value"), *self.points])
            write_whole(self.csv, "learning curve", text.getvalue())

    def draw(self) -> None:
        """Writes the picture."""
        series: dict[str, np.ndarray] = {}
        for name in {p[1] for p in self.points}:
            series[name] = np.array([(step, value) for step, n, value in self.points if n == name])
        figure, axes = plt.subplots(1, 3, figsize=(14, 3.8), layout="constrained")
        for name, colour in (("reward/total", "#1f3a5f"), ("reward/accuracy", "#c8322b")):
            if name in series:
                steps, values = series[name].T
                axes[0].plot(steps, values, color=colour, alpha=0.2)
                axes[0].plot(steps, _smooth(values), color=colour, label=name)
        axes[0].set_title("reward of the rollouts")
        for name in sorted(s for s in series if s.startswith("val/accuracy")):
            wide = name == "val/accuracy"
            axes[1].plot(*series[name].T, label=name.removeprefix("val/"), linewidth=3 if wide else 1, marker=".")
        axes[1].set_title("accuracy on the validation videos, best K frames")
        if "policy/effective_frames" in series:
            axes[2].plot(*series["policy/effective_frames"].T, color="#2f7d4f", label="effective frames (exp entropy)")
            axes[2].set_yscale("log")
            for which in ("major", "minor"):  # plain numbers: powers would be formulas
                getattr(axes[2].yaxis, f"set_{which}_formatter")(FuncFormatter(lambda value, _: f"{value:g}"))
            axes[2].set_title("frames the policy wavers between")
        for axis in axes:
            axis.set_xlabel("updates")
            axis.grid(alpha=0.3)
            if axis.get_legend_handles_labels()[0]:
                axis.legend(fontsize=7, framealpha=0.6)
        figure.savefig(self.png, dpi=90)
        plt.close(figure)


def _smooth(values: np.ndarray, width: int = 15) -> np.ndarray:
    """Running mean over the last ``width`` points."""
    sums = np.cumsum(np.insert(values, 0, 0.0))
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(ends - width, 0)
    return (sums[ends] - sums[starts]) / (ends - starts)
