"""What a command says before anything heavy is imported: what is about to run, and in which folder."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from modules.console import PlainConsole
from modules.part_progress import PartProgress
from recipes.launcher.begun_run import BegunRun
from recipes.launcher.from_checkpoint import merged_with_checkpoint
from recipes.launcher.merge import NEW_RUN_DIR
from recipes.launcher.parent import STARTED_IN_VARIABLE
from recipes.launcher.runs import RUN_DIR_VARIABLE, new_run_dir
from recipes.launcher.top_level import RUN_NAME

_RANK_VARIABLES = ("RANK", "SLURM_PROCID", "LOCAL_RANK")
_MOST_SETTINGS, _LONGEST = 8, 500


def is_first_rank() -> bool:
    """Whether this process is the one of its run that says things; told by the environment, without torch."""
    rank = next((os.environ[name] for name in _RANK_VARIABLES if name in os.environ), "0")
    return rank == "0"


@contextmanager
def announced(recipe: str, overlays: Sequence[str], overrides: list[str], run: BegunRun | None) -> Iterator[None]:
    """Prints what is about to run, and makes the folder of a new run; inside, it is checked and torch loaded.

    A folder of a recipe that has mistakes is taken away again.

    Args:
        recipe, overlays, overrides: as on the command line.
        run: that goes on; None begins one.
    """
    files = [recipe, *overlays]
    merged = merged_with_checkpoint(files, overrides, quiet=True)
    content: Any = OmegaConf.to_container(merged)
    run_dir, name = Path(str(content["run_dir"])) if run is None else run.run_dir, str(content.get("name", "run"))
    is_new = False
    if run is None and content["run_dir"] == NEW_RUN_DIR and RUN_NAME.fullmatch(name):
        is_new = RUN_DIR_VARIABLE not in os.environ
        run_dir = new_run_dir(name)
    if is_first_rank():
        console = PlainConsole(soft_wrap=True)
        for name, text in lines(content, run_dir, [*files, *overrides], goes_on=run is not None):
            console.print(f"{name:<11} {text:.{_LONGEST}}")
    try:
        with PartProgress("Checking the recipe and loading torch", None, quiet=not is_first_rank()):
            yield
    except BaseException:
        if is_new and is_first_rank():
            del os.environ[RUN_DIR_VARIABLE]
            with suppress(OSError):  # the folder of all runs of that name may have others
                run_dir.rmdir()
                run_dir.parent.rmdir()
        raise


def lines(recipe: dict[str, Any], run_dir: Path, words: list[str], *, goes_on: bool) -> list[tuple[str, str]]:
    """The banner: names and texts.

    Args:
        recipe: merged, not checked.
        run_dir: of the run.
        words: recipe, overlays and overrides of the command line.
        goes_on: the run has begun before.
    """
    found = [("recipe", " ".join(words)), ("run", f"{run_dir}, which goes on" if goes_on else str(run_dir))]
    if STARTED_IN_VARIABLE in os.environ:
        found.append(("folder", f"{Path.cwd()}, in which the run was started; paths are relative to it"))
    if "job" in recipe:
        return [*found, ("job", _object(recipe["job"]))]
    stages = recipe.get("stage", "fit")
    found.append(("stages", ", ".join(map(str, stages)) if isinstance(stages, list) else str(stages)))
    found += [(key, _object(recipe[key])) for key in ("data", "model") if key in recipe]
    trainer = recipe.get("trainer")
    if isinstance(trainer, dict):
        devices = f"accelerator {trainer.get('accelerator', 'auto')}, devices {trainer.get('devices', 'auto')}"
        found.append(("device", devices))
        if "fit" in str(stages) and isinstance(trainer.get("max_steps"), int):
            found.append(("updates", str(trainer["max_steps"])))
    return found


def _object(node: Any) -> str:
    """A class with its plain settings, and those of its parts that have a class of their own."""
    if not isinstance(node, dict):
        return str(node)
    name = str(node.get("class_path", "?")).rpartition(".")[2]
    arguments = node.get("init_args")
    settings = arguments if isinstance(arguments, dict) else {}
    plain = [f"{key} {value}" for key, value in settings.items() if _is_plain(value)][:_MOST_SETTINGS]
    parts = [
        f"{key} {str(value['class_path']).rpartition('.')[2]}"
        for key, value in settings.items()
        if isinstance(value, dict) and "class_path" in value
    ]
    told = ", ".join([*parts, *plain])
    return f"{name}: {told}" if told else name


def _is_plain(value: Any) -> bool:
    reference = isinstance(value, str) and value.startswith("${")
    return isinstance(value, (str, int, float)) and not isinstance(value, bool) and not reference
