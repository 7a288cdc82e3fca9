"""Writes what a run was made of, before its first step: resolved recipe, versions, git commit."""

from __future__ import annotations

import json
import logging
import os
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.cli import SaveConfigCallback
from lightning.pytorch.loggers import MLFlowLogger

from callbacks.recipe_record import Recording, record
from callbacks.tracking.mlflow_logger import mlflow_logger
from modules.files.whole_files import write_whole

_log = logging.getLogger(__name__)
_PACKAGES = ("torch", "lightning", "transformers", "trl", "open_clip_torch", "av", "omegaconf", "mlflow")


def environment() -> dict[str, str]:
    """Versions, commit and machine."""
    found = {"python": sys.version.split()[0], "machine": platform.machine(), "git_commit": git_commit()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def git_commit() -> str:
    """Commit of this checkout, ``+`` where files differ from it, ``unknown`` outside git."""
    root = Path(__file__).resolve().parent.parent

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=root, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain", "-uno") else "")
    except (subprocess.CalledProcessError, FileNotFoundError):
        return "unknown"


def record_environment(run_dir: Path) -> dict[str, str]:
    """Writes what the run has around it to ``environment.json``: versions, commit, machine and working folder."""
    found = {**environment(), "working_folder": os.getcwd()}
    write_whole(run_dir / "environment.json", "environment", json.dumps(found, indent=2) + "\n")
    return found


class Provenance(SaveConfigCallback):
    """Saves ``recipe.yaml`` and ``environment.json`` in the run folder and in MLflow, and the recipe in checkpoints.

    Args:
        arguments: see `SaveConfigCallback`.
        recording: how the recipe is written down. A run that goes on does so once it knows its number of updates, when
            all ranks have read the recipe.
    """

    def __init__(self, *arguments: Any, recording: Recording, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.recording = recording

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """A checkpoint knows what it is: the recipe goes into it as text."""
        checkpoint["recipe"] = self.parser.dump(self.config, skip_none=False)

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        if not self.recording.resumed:
            super().setup(trainer, pl_module, stage)

    def _begin(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self.recording.resumed and not self.already_saved:
            self.already_saved = True
            if trainer.is_global_zero:
                self.save_config(trainer, pl_module, str(trainer.state.fn))

    on_train_start = on_validation_start = on_test_start = on_predict_start = _begin

    def save_config(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        run_dir = Path(self.config.run_dir)
        text = self.parser.dump(self.config, skip_none=False)
        recipe = record(run_dir, text, self.recording, trainer.global_step)
        found = record_environment(run_dir)
        if (mlflow := mlflow_logger(trainer)) is not None:
            tags = {f"kairos.{name}": value for name, value in found.items()}
            mlflow.set_tags({**tags, "kairos.command": " ".join(sys.argv)})
            for path in (recipe, run_dir / "environment.json"):
                mlflow.log_file(path)
        elif any(isinstance(logger, MLFlowLogger) for logger in trainer.loggers):
            _log.warning(
                "trainer.logger is Lightning's own MLFlowLogger: it gets metrics but no files, a database or server "
                "that fails ends the training, and a resumed run is a new one in MLflow. With class_path "
                "callbacks.tracking.mlflow_logger.BufferedMLFlowLogger and run_dir: ${run_dir}, none of that is so"
            )
