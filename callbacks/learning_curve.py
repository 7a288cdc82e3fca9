"""The learning curve as one picture, drawn when training ends: reward, held-out accuracy, entropy."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np

from callbacks.after_update import AfterUpdate
from callbacks.learning_curve_picture import draw_learning_curve
from callbacks.tracking.run_logger import run_loggers
from modules.files.whole_files import write_whole

_TRACKED = ("reward/total", "reward/accuracy", "reward/zero_std_frac", "policy/entropy_nats", "policy/effective_frames")


class LearningCurve(AfterUpdate):
    """Collects a few metrics, writes ``curve.csv`` at each checkpoint and validation, and draws ``learning_curve.png``.

    The checkpoint holds the points, and the file is what they are: after a resume it is that of the checkpoint, and
    goes on as that of a run that was never stopped.

    Args:
        run_dir: where the files go.
        at_start: validate before the first update too, for a curve that begins at what was there before, between the
            floor and the ceiling (``val/uniform`` and ``val/oracle``), which are measured then.
    """

    def __init__(self, *, run_dir: str, at_start: bool = False) -> None:
        self.at_start = at_start
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
        """A checkpoint is written before its step's validation, which a run that was stopped there has never had; and
        Lightning has none before the first update."""
        loop = trainer.fit_loop.epoch_loop
        every = trainer.val_check_batch
        due = every is not None and (loop.total_batch_idx + 1) % every == 0
        due = self.at_start and every is not None if trainer.global_step == 0 else due
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
        for name in sorted({p[1] for p in self.points}):
            series[name] = np.array([(step, value) for step, n, value in self.points if n == name])
        draw_learning_curve(series, self.png)
