"""``lightning check``: a recipe merged, and every mistake in it told at once; nothing of it is built."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

from omegaconf import DictConfig

from recipes.launcher.class_paths import folders_of
from recipes.launcher.from_checkpoint import known_of_checkpoint
from recipes.launcher.merge import expand_shortcuts, merge, resolve
from recipes.launcher.mistakes import RecipeError
from recipes.launcher.problems import problems
from recipes.launcher.trained_weights import missing_weights


def check_command(options: argparse.Namespace, overrides: list[str]) -> Iterator[str]:
    """Checks, and says what the recipe would take; that needs no trained weights, so they are looked for last.

    Yields:
        What to print, one thing after another.
    """
    from recipes.launcher.cost.gpus import gpu_named

    gpu = gpu_named(options.gpu or "h100") if options.gpu or options.time else None
    folders = folders_of(options.user_dir, options.recipe)
    merged = check(options.recipe, options.overlay, overrides, trained=False, folders=folders)
    if options.memory or options.time:
        from recipes.launcher.cost.report import report

        yield report(merged, options.recipe, memory=options.memory, gpu=gpu, time=options.time)
    check_weights(merged, options.recipe)
    yield f"{options.recipe}: no mistakes found"


def check(
    recipe: str, overlays: list[str], overrides: list[str], trained: bool = True, folders: Sequence[Path] = ()
) -> DictConfig:
    """The merged recipe.

    Args:
        recipe, overlays, overrides: as on the command line.
        trained: trained weights that it starts from have to be there.
        folders: that may hold classes of the person's own; they are read, not imported.

    Raises:
        RecipeError: with every mistake in it.
    """
    files = [recipe, *overlays]
    merged = merge(files, expand_shortcuts(files, overrides))
    if (known := known_of_checkpoint(merged)) is not None:
        merged = merge(files, expand_shortcuts(files, overrides), known)
    resolved = resolve(merged, recipe)
    if mistakes := problems(resolved, folders) + (missing_weights(resolved) if trained else []):
        raise RecipeError(" + ".join(files), mistakes)
    return merged


def check_weights(merged: DictConfig, recipe: str) -> None:
    """Whether trained weights that a checked recipe starts from are there.

    Raises:
        RecipeError: they are not.
    """
    if mistakes := missing_weights(resolve(merged, recipe)):
        raise RecipeError(recipe, mistakes)
