"""``lightning run``: checks a recipe, says whose code it runs, and hands it to `recipes.launcher.launch`."""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from recipes.launcher.banner import announced
from recipes.launcher.begun_run import start
from recipes.launcher.check import check
from recipes.launcher.class_paths import admit, class_paths, is_known
from recipes.launcher.library_imports import import_torchmetrics, library_imports
from recipes.launcher.source.source_modules import file_of


def run_command(options: argparse.Namespace, overrides: list[str], folders: Sequence[Path]) -> None:
    """Checks and runs a recipe; the run that ``--resume`` means goes on with its own.

    Args:
        options, overrides: of the command line.
        folders: that may hold classes of the person's own.
    """
    folders = [folder.absolute() for folder in folders]  # a run that goes on does so in the folder it was started in
    recipe, overlays, begun_run = start(options.recipe, options.overlay, overrides, options.resume)
    with announced(recipe, overlays, overrides, begun_run):
        merged = check(recipe, overlays, overrides, folders=folders)
        content: Any = OmegaConf.to_container(merged)
        if content.get("serve") is not None:
            raise ValueError(f"{recipe} is served, not run: lightning serve {recipe}")
        with library_imports():
            quieten()
            import_torchmetrics()
            from recipes.launcher.launch import launch

            _import_modules_of(path for _, path in class_paths(content) if is_known(path))
    for path in admit(content, folders):
        logging.getLogger(__name__).warning("%s is code of %s, and runs", path, file_of(path, folders))
    launch(merged, begun_run, options.requeue, options.allow_changes)


def _import_modules_of(paths: Iterable[str]) -> None:
    """Imports the modules of classes.

    Raises:
        ValueError: one needs a package that is not installed.
    """
    for path in paths:
        try:
            importlib.import_module(path.rpartition(".")[0])
        except ImportError as error:
            raise ValueError(f"cannot import {path!r}: {error}") from error


def quieten() -> None:
    """Silences what the libraries say at every start and nobody can act on."""
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s", level=logging.WARNING)
    logging.getLogger("modules.rl").setLevel(logging.INFO)  # what a run learns from
    for name in (
        "lightning.pytorch.utilities.rank_zero",
        "lightning.fabric.utilities.seed",
        "lightning.fabric.utilities.distributed",
        "mlflow",
        "alembic",
    ):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("DeepSpeed").addFilter(lambda record: "Setting accelerator to CPU" not in record.getMessage())
    for message in (
        ".*does not have many workers.*",
        ".*treespec, LeafSpec.*",
        ".*eval mode at the start.*",
        ".*pin_memory.*",
        ".*callbacks used to create the checkpoint.*",
        "Using ModelCheckpoint with manual optimization.*",  # the state after the step is the one we want
        ".*IterableDataset. has .__len__. defined.*",
        ".*sync_dist=True.*",  # what is logged was gathered from all ranks before
        ".*`srun` command is available.*",
        ".*Checkpoint directory .* exists and is not empty.*",  # of a run that goes on
        ".*The dirpath has changed from.*",  # of a run that was moved
    ):
        warnings.filterwarnings("ignore", message=message)
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    from transformers.utils.logging import disable_progress_bar, set_verbosity_error

    set_verbosity_error()
    disable_progress_bar()
