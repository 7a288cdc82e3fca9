"""Trained weights that a recipe starts from: whether the run or the file that it names is there."""

from __future__ import annotations

from typing import Any

from recipes.launcher.merge import MISSING
from recipes.launcher.runs import resolve_checkpoint
from recipes.launcher.top_level import RUN_NAME


def missing_weights(recipe: dict[str, Any]) -> list[str]:
    """Where trained weights should come from and are not: files of other runs, as ``key: what is wrong``."""
    node: Any = recipe.get("model")
    arguments = node.get("init_args") if isinstance(node, dict) else None
    first = arguments.get("init_from") if isinstance(arguments, dict) else None
    found = []
    for key, value in (
        ("checkpoint", recipe.get("checkpoint")),
        ("model.init_args.init_from", first),
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
