"""Files that a recipe names: whether the data that it reads and the trained weights that it starts from are there."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from recipes.launcher.merge import MISSING
from recipes.launcher.runs import resolve_checkpoint
from recipes.launcher.top_level import RUN_NAME


def missing_inputs(inputs: Iterable[tuple[str, str]]) -> list[str]:
    """Annotations, videos, lists of questions and the like that are not there, as ``key: what is wrong``.

    Args:
        inputs: keys with what they name.
    """
    found = []
    for key, name in inputs:
        if not _exists(name):
            where = "" if Path(name).is_absolute() else f" below {Path.cwd()}"
            short = ".".join(part for part in key.split(".") if part != "init_args")
            found.append(f"{key}: no such file or folder: {name!r:.300}{where}; --{short} names yours")
    return found


def _exists(name: str) -> bool:
    try:
        return Path(name).exists()
    except (OSError, ValueError):  # a name that no file can have
        return False


def missing_weights(recipe: dict[str, Any]) -> list[str]:
    """Where trained weights should come from and are not: files of other runs, as ``key: what is wrong``."""
    found = []
    for key, value in (
        ("checkpoint", recipe.get("checkpoint")),
        ("model.init_args.init_from", _argument(recipe.get("model"), "init_from")),
        ("job.init_args.checkpoint", _argument(recipe.get("job"), "checkpoint")),
    ):
        if not isinstance(value, str) or value == MISSING:
            continue
        try:
            _checked_run_name(str(value))
            resolve_checkpoint(str(value))
        except (ValueError, OSError) as error:
            found.append(f"{key}: {error}")
    return found


def _checked_run_name(value: str) -> None:
    if value.startswith("last:") and not RUN_NAME.fullmatch(value.removeprefix("last:")):
        raise ValueError(f"{value!r:.100}: last:NAME takes the name of a recipe")


def _argument(node: Any, name: str) -> Any:
    """Of a class that a recipe names; None where it is not given."""
    arguments = node.get("init_args") if isinstance(node, dict) else None
    return arguments.get(name) if isinstance(arguments, dict) else None
