"""A checked recipe becomes objects, objects become a run."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import lightning as L
import torch
from jsonargparse import ArgumentParser
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from omegaconf import DictConfig, OmegaConf

from callbacks.checkpoints import LastUpdateSaved
from callbacks.interruption import Interruption
from callbacks.provenance import Provenance, record_environment
from callbacks.recipe_record import Recording, record
from callbacks.requeue import Requeue
from callbacks.shortfalls import Shortfalls
from callbacks.tracking.run_logger import how_to_look, run_loggers
from modules.console import PlainConsole
from modules.part_progress import PartProgress
from recipes.jobs.base import Job
from recipes.launcher.banner import is_first_rank
from recipes.launcher.begun_run import BegunRun
from recipes.launcher.merge import NEW_RUN_DIR, resolve
from recipes.launcher.named_callbacks import listed
from recipes.launcher.parent import STARTED_IN_VARIABLE
from recipes.launcher.reading import content_of
from recipes.launcher.resume import continuation
from recipes.launcher.run_description import description
from recipes.launcher.runs import RUN_DIR_VARIABLE, begun, last_checkpoint, new_run_dir, resolve_checkpoint
from recipes.launcher.stopping import last_words
from recipes.launcher.top_level import OWN
from recipes.launcher.whole_checkpoints import whole_for, whole_or_another

_log = logging.getLogger(__name__)


class RecipeCLI(LightningCLI):
    """LightningCLI without subcommands: the stage is a key of the recipe."""

    def __init__(self, args: dict[str, Any], recording: Recording | None = None) -> None:
        with warnings.catch_warnings():
            # sys.argv stays as it is (DDP starts its processes from it), so it is given beside our own arguments
            warnings.filterwarnings("ignore", message="LightningCLI's args parameter")
            super().__init__(
                args=args,
                run=False,
                save_config_callback=Provenance,
                save_config_kwargs={
                    "save_to_log_dir": False,
                    "config_filename": "recipe.yaml",
                    "recording": recording or Recording(),
                    "describe": description,
                },
                seed_everything_default=0,
                auto_configure_optimizers=False,
                load_from_checkpoint_support=False,
                parser_kwargs={"parser_mode": "omegaconf+", "exit_on_error": False},  # a sentence, not its usage
            )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        for key in OWN:
            parser.add_argument(f"--{key.name}", type=key.annotation, default=key.default, help=key.help)


class RecipeReader(RecipeCLI):
    """Reads a recipe as it would be built, and builds nothing."""

    def instantiate_classes(self) -> None:
        pass

    def complete(self) -> dict[str, Any]:
        """The recipe with every default, as plain data."""
        return content_of(self.parser.dump(self.config, skip_unset=False))


def complete(recipe: DictConfig) -> dict[str, Any]:
    """A merged recipe with every default, as it is recorded."""
    return RecipeReader(listed(resolve(recipe, "the recipe"))).complete()


def launch(recipe: DictConfig, begun_run: BegunRun | None, requeue: bool = False, allow_changes: bool = False) -> None:
    """Builds and runs every stage of a checked recipe.

    Args:
        recipe: merged.
        begun_run: that goes on; None begins one.
        requeue: act on a cluster's warning before the time is up.
        allow_changes: a run that goes on may do so with another recipe.
    """
    recording = Recording()
    checkpoint = None
    if begun_run is not None:
        run_dir = begun_run.run_dir
        if STARTED_IN_VARIABLE not in os.environ:
            os.environ[RUN_DIR_VARIABLE] = str(run_dir)
        going_on = continuation(recipe, begun_run, complete, allow_changes=allow_changes, requeued=requeue)
        recipe, recording = going_on.recipe, Recording(tuple(map(str, going_on.changes)), resumed=True)
        checkpoint = whole_or_another(last_checkpoint(run_dir))
    else:
        name = str(recipe.get("name", "run"))
        run_dir = new_run_dir(name) if recipe.run_dir == NEW_RUN_DIR else Path(recipe.run_dir)
        if recipe.get("checkpoint"):
            checkpoint = whole_for(resolve_checkpoint(recipe.checkpoint), recipe.get("stage", "fit"))
        run_dir.mkdir(parents=True, exist_ok=True)
    recipe.run_dir = str(run_dir)
    first = OmegaConf.select(recipe, "model.init_args.init_from")
    if first is not None:
        recipe.model.init_args.init_from = str(resolve_checkpoint(first))
    for name, path in (OmegaConf.select(recipe, "model.init_args.weights") or {}).items():
        if path is not None:
            recipe.model.init_args.weights[name] = str(whole_for(resolve_checkpoint(path), "test"))
    with (
        Interruption(run_dir=str(run_dir)) as interruption,
        ExitStack() as at_last,
        last_words(interruption, run_dir, sys.argv[1:]),
    ):
        if "job" in recipe:
            run_job(recipe, run_dir)
        else:
            run_trainer(recipe, checkpoint, interruption, at_last, requeue, recording)


def run_trainer(
    recipe: DictConfig,
    checkpoint: Path | None,
    interruption: Interruption,
    at_last: ExitStack,
    requeue: bool,
    recording: Recording,
) -> None:
    """Builds what a recipe names, and runs its stages.

    Args:
        recipe: merged, with a ``model``.
        checkpoint: to go on from, or with trained parts.
        interruption: that may come.
        at_last: is given what to do when the run has ended, however it did, and has said so.
        requeue: act on a cluster's warning.
        recording: how the recipe is written down.
    """
    with PartProgress("Building models and data", None, quiet=not is_first_rank()):
        cli = RecipeCLI(listed(resolve(recipe, str(recipe.get("name", "run")))), recording)
    _announce_devices(cli.trainer)
    queued_again = Requeue(run_dir=str(recipe.run_dir))
    # checkpoints come last, and these go right before them
    callbacks: list[L.Callback] = cli.trainer.callbacks  # type: ignore[attr-defined]  # set by a part of the trainer
    callbacks[-1:-1] = [Shortfalls(), LastUpdateSaved(), *[queued_again] * requeue, interruption]
    at_last.callback(close_tracking, cli.trainer, interruption)
    run_stages(cli, checkpoint, queued_again)


def _announce_devices(trainer: L.Trainer) -> None:
    """What the recipe's ``auto`` came to."""
    if trainer.is_global_zero:
        device, ranks = trainer.strategy.root_device, trainer.world_size
        processes = "1 process" if ranks == 1 else f"{ranks} processes"
        PlainConsole().print(f"device      {device.type}, {processes}, precision {trainer.precision}")


def run_stages(cli: RecipeCLI, checkpoint: Path | None, queued_again: Requeue) -> None:
    """One stage after another, until one ends in another job."""
    stages = cli.config.stage if isinstance(cli.config.stage, list) else [cli.config.stage]
    for stage in stages:
        run = getattr(cli.trainer, stage)
        extra = {"return_predictions": False} if stage == "predict" else {}  # callbacks take them as they come
        # weights_only: a checkpoint is data; nothing in it is ever executed
        run(cli.model, datamodule=cli.datamodule, ckpt_path=checkpoint, weights_only=True, **extra)
        if queued_again.stopped:
            return
        checkpoint = None  # later stages go on with what is in memory
    if cli.trainer.is_global_zero and not {"test", "predict"} & set(stages):
        _say_what_is_next(cli.trainer, Path(cli.config.run_dir), stages)


def _say_what_is_next(trainer: L.Trainer, run_dir: Path, stages: list[str]) -> None:
    """Where a run without a test has left what it made; a test and an answer say so themselves."""
    console = PlainConsole(soft_wrap=True)
    console.print(f"run         {run_dir}")
    for place in how_to_look(trainer):
        console.print(f"look        {place}")
    if "fit" in stages and begun(str(run_dir)):
        console.print(f"next        lightning run --resume {run_dir} --stage test")


def close_tracking(trainer: L.Trainer, interruption: Interruption) -> None:
    """Waits for what is still to be tracked, and says what could not be."""
    patience_s = 15.0 if interruption.signal is None else 5.0
    for logger in run_loggers(trainer):
        if (lacking := logger.close(patience_s)) is not None:
            _log.warning("%s", lacking)


def run_job(recipe: DictConfig, run_dir: Path) -> None:
    """Builds and runs a recipe's job.

    Args:
        recipe: merged, with a ``job``.
        run_dir: where its reports go.
    """
    parser = ArgumentParser(parser_mode="omegaconf+", exit_on_error=False)
    parser.add_argument("--job", type=Job, required=True)
    parser.add_argument("--seed_everything", type=int, default=0)
    for key in OWN:
        if key.of_jobs:
            parser.add_argument(f"--{key.name}", type=key.annotation, default=key.default, help=key.help)
    config = parser.parse_object(OmegaConf.to_container(recipe))
    torch.manual_seed(config.seed_everything)
    record(run_dir, parser.dump(config, skip_unset=False), Recording())
    record_environment(run_dir)
    parser.instantiate(config).job.run(run_dir)
