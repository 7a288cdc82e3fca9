"""A run that has begun and is to go on: where it lies, where it was started, and the recipe that it recorded."""

from __future__ import annotations

import json
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recipes.launcher.merge import expand_shortcuts, merge
from recipes.launcher.moved import up_to_date
from recipes.launcher.parent import STARTED_IN_VARIABLE, is_started_rank
from recipes.launcher.reading import with_own_files
from recipes.launcher.recipe_files import read_recipe
from recipes.launcher.runs import RUN_DIR_VARIABLE, begun, find_run

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class BegunRun:
    """A run folder with a checkpoint to go on from."""

    run_dir: Path

    @property
    def recipe_file(self) -> Path:
        """What the run recorded of itself."""
        return self.run_dir / "recipe.yaml"

    def recorded(self) -> dict[str, Any] | None:
        """Its recipe, with every default in it, and paths below the run folder where that lies now; None without one.

        Raises:
            RecipeError: the file is no recipe.
        """
        if not self.recipe_file.is_file():
            return None
        recipe = with_own_files(up_to_date(read_recipe(self.recipe_file, str(self.recipe_file))))
        return relocated(recipe, self.former_run_dir(), str(self.run_dir))

    def former_run_dir(self) -> str:
        """The run folder as its recipe names it."""
        if not self.recipe_file.is_file():
            return str(self.run_dir)
        return str(read_recipe(self.recipe_file, str(self.recipe_file)).get("run_dir", self.run_dir))

    def working_folder(self) -> Path | None:
        """Where relative paths of its recipe begin; None where it did not say."""
        try:
            folder = json.loads((self.run_dir / "environment.json").read_text()).get("working_folder")
        except (OSError, ValueError):
            return None
        return Path(folder) if isinstance(folder, str) else None


def relocated(node: Any, old: str, new: str) -> Any:
    """Plain data whose paths in a folder lie in another one now.

    Args:
        node: mappings, lists and values.
        old, new: the folder, as it was named and as it is named now.
    """
    if isinstance(node, dict):
        return {key: relocated(value, old, new) for key, value in node.items()}
    if isinstance(node, list):
        return [relocated(value, old, new) for value in node]
    inside = isinstance(node, str) and (node == old or node.startswith(f"{old}/"))
    return f"{new}{node.removeprefix(old)}" if inside else node


def start(
    recipe: str | None, overlays: list[str], overrides: list[str], resume: str | None
) -> tuple[str, list[str], BegunRun | None]:
    """Recipe and overlays to read, and the run that goes on with them, from the folder in which that one was started.

    Args:
        recipe: of the command line; left out, the run's own is read.
        overlays, overrides: as on the command line.
        resume: ``last``, ``auto``, a run folder, or None.

    Raises:
        ValueError: there is no such run, or nothing says what it was made by.
    """
    files = [] if recipe is None else [recipe, *overlays]
    run = None if resume is None else find_begun(resume, files, overrides)
    if run is not None:
        overlays = [as_absolute(file) for file in overlays]
        recipe = None if recipe is None else as_absolute(recipe)
        run = enter_working_folder(run)
    if recipe is not None:
        return recipe, overlays, run
    assert run is not None
    if not run.recipe_file.is_file():
        raise ValueError(f"--resume {resume}: there is no {run.recipe_file}; name the recipe that it was made by")
    if any(word.startswith("--vars.") for word in overrides):
        raise ValueError("--vars: a run's own recipe has their values in place; set the keys in which they are used")
    return str(run.recipe_file), overlays, run


def find_begun(resume: str, files: list[str], overrides: list[str]) -> BegunRun | None:
    """The run that ``--resume`` means; None under ``auto`` where its folder has not begun.

    Args:
        resume: ``last``, ``auto`` or a run folder.
        files: recipe and overlays of the command line, of which there may be none.
        overrides: words of the command line.

    Raises:
        ValueError: there is no such run, or without a recipe nothing says which one is meant.
    """
    if is_started_rank() and (known := os.environ.get(RUN_DIR_VARIABLE)):
        return BegunRun(Path(known))  # the newest may be another by now
    if resume not in ("last", "auto"):
        return BegunRun(find_run("", resume))
    if not files:
        raise ValueError(f"--resume {resume} needs the recipe that is meant; a run folder says it by itself")
    recipe = merge(files, expand_shortcuts(files, overrides))
    if resume == "auto":
        return BegunRun(Path(recipe.run_dir)) if begun(str(recipe.run_dir)) else None
    return BegunRun(find_run(str(recipe.get("name", "run")), resume))


def enter_working_folder(begun_run: BegunRun) -> BegunRun:
    """Goes to the folder in which a run was started, so that relative paths of its recipe lead where they did.

    Returns:
        The run, by a path that is right there.
    """
    here, there = Path.cwd(), begun_run.working_folder()
    if there is None or there == here:
        return begun_run
    if not there.is_dir():
        _log.warning(
            "the run was started in %s, which is not here; relative paths of its recipe begin in %s", there, here
        )
        return begun_run
    if there.samefile(here):
        return begun_run
    run_dir = begun_run.run_dir.resolve()
    os.environ |= {STARTED_IN_VARIABLE: str(here), RUN_DIR_VARIABLE: str(run_dir)}
    os.chdir(there)
    return BegunRun(run_dir.relative_to(there) if run_dir.is_relative_to(there) else run_dir)


def as_absolute(file: str) -> str:
    """A file of the command line, by a path that holds in every folder; those of Kairos stay as they are."""
    return str(Path(file).absolute()) if Path(file).exists() else file
