"""Files that a recipe names: whether the data that it reads and the trained weights that it starts from are there."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from recipes.launcher.merge import MISSING
from recipes.launcher.runs import resolve_checkpoint
from recipes.launcher.top_level import RUN_NAME


def missing_inputs(inputs: Iterable[tuple[str, str]], recipe: dict[str, Any]) -> list[str]:
    """Annotations, videos, lists of questions and the like that are not there, as ``key: what is wrong``.

    Args:
        inputs: keys with what they name.
        recipe: resolved, with its short names; a file that several keys have by one of these is told once.
    """
    found: dict[tuple[str, str], str] = {}
    for key, name in inputs:
        if not _exists(name):
            where = "" if Path(name).is_absolute() else f" below {Path.cwd()}"
            option = _option(key, name, recipe)
            said = f"{key}: no such file or folder: {name!r:.300}{where}; --{option} names yours"
            found.setdefault((option, name), said)
    return list(found.values())


def _option(key: str, name: str, recipe: dict[str, Any]) -> str:
    """What sets a key on the command line: a short name of the recipe's for it, or else the key without init_args.

    A short name of a variable counts where the variable's value, in which nothing shows where it is used, is ``name``.
    """
    shortcuts, variables = recipe.get("shortcuts") or {}, recipe.get("vars") or {}
    known = [short for short, long in shortcuts.items() if long == key or variables.get(_variable(long)) == name]
    own = key.rpartition(".")[2]
    plain = ".".join(part for part in key.split(".") if part != "init_args")
    return own if own in known else next(iter(known), plain)


def _variable(key: str) -> str | None:
    return key.removeprefix("vars.") if key.startswith("vars.") else None


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
        *((f"model.init_args.weights.{name}", value) for name, value in _weights(recipe)),
    ):
        if not isinstance(value, str) or value == MISSING:
            continue
        try:
            _checked_run_name(str(value))
            resolve_checkpoint(str(value))
        except (ValueError, OSError) as error:
            found.append(f"{key}: {error}")
    return found


def _weights(recipe: dict[str, Any]) -> list[tuple[str, Any]]:
    weights = _argument(recipe.get("model"), "weights")
    return list(weights.items()) if isinstance(weights, dict) else []


def _checked_run_name(value: str) -> None:
    if value.startswith("last:") and not RUN_NAME.fullmatch(value.removeprefix("last:")):
        raise ValueError(f"{value!r:.100}: last:NAME takes the name of a recipe")


def _argument(node: Any, name: str) -> Any:
    """Of a class that a recipe names; None where it is not given."""
    arguments = node.get("init_args") if isinstance(node, dict) else None
    return arguments.get(name) if isinstance(arguments, dict) else None
