"""``lightning check``: a recipe merged, and every mistake in it told at once; nothing of it is built."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

from omegaconf import DictConfig

from recipes.launcher.class_paths import folders_of
from recipes.launcher.from_checkpoint import merged_with_checkpoint
from recipes.launcher.merge import resolve
from recipes.launcher.mistakes import RecipeError
from recipes.launcher.problems import problems


def check_command(options: argparse.Namespace, overrides: list[str]) -> Iterator[str]:
    """Checks, and says what the recipe would take; that needs neither data nor weights, so they are looked for last.

    Yields:
        What to print, one thing after another.
    """
    from recipes.launcher.cost.gpus import gpu_named

    gpu = gpu_named(options.gpu or "h100") if options.gpu or options.time else None
    folders = folders_of(options.user_dir, [options.recipe, *options.overlay])
    if options.memory or options.time:
        from recipes.launcher.cost.report import report

        merged = check(options.recipe, options.overlay, overrides, files=False, folders=folders)
        yield report(merged, options.recipe, memory=options.memory, gpu=gpu, time=options.time)
    try:
        check(options.recipe, options.overlay, overrides, folders=folders)
    except RecipeError as error:
        if not (options.memory or options.time):
            raise
        yield f"{error}\n(all of that is wanted for a run, and none of it for an estimate)"
    else:
        yield f"{options.recipe}: no mistakes found"


def check(
    recipe: str, overlays: list[str], overrides: list[str], files: bool = True, folders: Sequence[Path] = ()
) -> DictConfig:
    """The merged recipe.

    Args:
        recipe, overlays, overrides: as on the command line.
        files: the data that it reads, the trained weights that it starts from, and the packages that its loggers need
            have to be there.
        folders: that may hold classes of the person's own; they are read, not imported.

    Raises:
        RecipeError: with every mistake in it.
    """
    sources = [recipe, *overlays]
    merged = merged_with_checkpoint(sources, overrides)
    resolved = resolve(merged, recipe)
    if mistakes := problems(resolved, folders, files):
        raise RecipeError(" + ".join(sources), mistakes)
    return merged
