"""A checked recipe becomes objects, objects become a run."""

from __future__ import annotations

import os
import time
import warnings
from pathlib import Path
from typing import Any

from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

from callbacks.provenance import Provenance
from recipes.recipe import NEW_RUN_DIR

RUN_DIR_VARIABLE = "KAIROS_RUN_DIR"
MLFLOW_RUN_FILE = "mlflow_run_id"


class RecipeCLI(LightningCLI):
    """LightningCLI without subcommands: the stage is a key of the recipe."""

    def __init__(self, args: list[str]) -> None:
        with warnings.catch_warnings():
            # sys.argv stays as it is (DDP starts its processes from it), so it is given beside our own arguments
            warnings.filterwarnings("ignore", message="LightningCLI's args parameter")
            super().__init__(
                args=args,
                run=False,
                save_config_callback=Provenance,
                save_config_kwargs={"save_to_log_dir": False, "config_filename": "recipe.yaml"},
                seed_everything_default=0,
                auto_configure_optimizers=False,
                load_from_checkpoint_support=False,
                parser_kwargs={"parser_mode": "omegaconf+"},
            )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument("--name", type=str, default="run", help="of the run, and of its folder")
        parser.add_argument("--stage", type=str | list[str], default="fit", help="fit, validate, test, predict, or a list")
        parser.add_argument("--run_dir", type=str | None, default=None, help="folder of everything the run writes")
        parser.add_argument("--checkpoint", type=str | None, default=None, help="trained parts to start from")
        parser.add_argument("--shortcuts", type=dict[str, str] | None, default=None, help="short names of long keys")

    def before_instantiate_classes(self) -> None:
        run_id = Path(self.config.run_dir) / MLFLOW_RUN_FILE
        logger = self.config.trainer.logger
        if run_id.exists() and hasattr(logger, "init_args") and "run_id" in logger.init_args:
            logger.init_args.run_id = run_id.read_text().strip()


def find_run(name: str, resume: str) -> tuple[Path, Path]:
    """Run folder and checkpoint to go on from.

    Args:
        name: of the recipe.
        resume: ``last``, or a run folder.
    """
    if resume == "last":
        known = sorted((p for p in Path("outputs").glob(f"{name}/*") if (p / "checkpoints").is_dir()), key=os.path.getmtime)
        if not known:
            raise ValueError(f"--resume last: no run of {name!r} with a checkpoint below outputs/{name}")
        run_dir = known[-1]
    else:
        run_dir = Path(resume)
    checkpoint = run_dir / "checkpoints" / "last.ckpt"
    if not checkpoint.is_file():
        raise ValueError(f"--resume {resume}: there is no {checkpoint}")
    return run_dir, checkpoint


def new_run_dir(name: str) -> Path:
    """``outputs/NAME/TIME``; processes that DDP starts get the folder of the one that started them."""
    known = os.environ.get(RUN_DIR_VARIABLE)
    run_dir = Path(known) if known else Path("outputs") / name / time.strftime("%Y%m%d-%H%M%S")
    os.environ[RUN_DIR_VARIABLE] = str(run_dir)
    return run_dir


def launch(recipe: dict[str, Any], args: list[str], resume: str | None) -> None:
    """Builds and runs every stage of a checked recipe.

    Args:
        recipe: merged and resolved, for the keys needed before anything is built.
        args: for the parser: ``--config`` files and overrides.
        resume: None, ``last``, or a run folder.
    """
    name, checkpoint = str(recipe.get("name", "run")), recipe.get("checkpoint")
    if resume is not None:
        run_dir, last = find_run(name, resume)
        os.environ[RUN_DIR_VARIABLE] = str(run_dir)
        checkpoint = str(last)
    else:
        run_dir = new_run_dir(name) if recipe["run_dir"] == NEW_RUN_DIR else Path(recipe["run_dir"])
    Path(run_dir).mkdir(parents=True, exist_ok=True)
    cli = RecipeCLI([*args, "--run_dir", str(run_dir)])
    stages = cli.config.stage if isinstance(cli.config.stage, list) else [cli.config.stage]
    for stage in stages:
        run = getattr(cli.trainer, stage)
        # weights_only: a checkpoint is data; nothing in it is ever executed
        run(cli.model, datamodule=cli.datamodule, ckpt_path=checkpoint, weights_only=True)
        checkpoint = None  # later stages go on with what is in memory
