"""Writes what a run was made of, before its first step: resolved recipe, versions, git commit."""

from __future__ import annotations

import json
import logging
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.cli import SaveConfigCallback
from lightning.pytorch.loggers import MLFlowLogger

from callbacks.recipe_record import Recording, record
from callbacks.tracking.run_logger import not_taken, run_loggers
from modules.console import PlainConsole
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


@dataclass(frozen=True)
class Description:
    """What a recipe is in a table of runs."""

    settings: dict[str, Any]
    """Its values, by the keys that the command line has for them."""
    tags: dict[str, str]
    """Its method and its world."""


class Provenance(SaveConfigCallback):
    """Saves ``recipe.yaml`` and ``environment.json`` in the run folder, and the recipe in checkpoints.

    The loggers are told what the run is.

    Args:
        arguments: see `SaveConfigCallback`.
        describe: what the text of a recipe comes to in a table of runs.
        recording: how the recipe is written down. A run that goes on does so once it knows its number of updates, when
            all ranks have read the recipe.
    """

    def __init__(
        self, *arguments: Any, recording: Recording, describe: Callable[[str], Description], **named: Any
    ) -> None:
        super().__init__(*arguments, **named)
        self.recording, self.describe = recording, describe

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
        description = self.describe(text)
        tags = {
            **description.tags,
            "commit": found.pop("git_commit"),
            "command": " ".join(sys.argv),
            "run_dir": str(run_dir),
        }
        tags |= {f"kairos.{name}": value for name, value in found.items()}
        for logger in trainer.loggers:
            logger.log_hyperparams(description.settings)
        for taking in run_loggers(trainer):
            taking.log_tags(tags)
            for path in (recipe, run_dir / "environment.json"):
                taking.log_file(path)
        _say_what_is_not_taken(trainer, run_dir)


def _say_what_is_not_taken(trainer: L.Trainer, run_dir: Path) -> None:
    if any(isinstance(logger, MLFlowLogger) for logger in trainer.loggers):
        _log.warning(
            "trainer.logger is Lightning's own MLFlowLogger: a database or server that fails ends the training, and a "
            "resumed run is a new one in MLflow. With class_path "
            "callbacks.tracking.mlflow_logger.BufferedMLFlowLogger and run_dir: ${run_dir}, none of that is so"
        )
    for said in not_taken(trainer):
        PlainConsole(soft_wrap=True).print(f"logged      {said}: they are in {run_dir}")
