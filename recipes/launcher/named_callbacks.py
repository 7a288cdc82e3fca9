"""Callbacks by name, so that a file or the command line can change one of them without repeating the others.

In a recipe ``trainer.callbacks`` is a mapping (``timeline: {class_path: ..., init_args: ...}``). An entry with a class
says all of a callback, one without changes arguments of the one before it. One that is null is left out, and keeps its
place: callbacks come in the order in which their names first appear. A plain list is read too and replaces what came
before it; names that meet a list find its entries by their classes (`name_of`).
"""

from __future__ import annotations

import re
from typing import Any


def callbacks_of(recipe: Any) -> Any:
    """What stands under ``trainer.callbacks`` in plain data, None where nothing does."""
    trainer = recipe.get("trainer") if isinstance(recipe, dict) else None
    return trainer.get("callbacks") if isinstance(trainer, dict) else None


def is_named(callbacks: Any) -> bool:
    """Whether these are callbacks by name, rather than a list, one callback alone, or entries of a list by number."""
    return isinstance(callbacks, dict) and "class_path" not in callbacks and not any(map(str.isdecimal, callbacks))


def by_name(callbacks: Any) -> dict[str, Any]:
    """A list of callbacks, or one alone, as a mapping; a second one of a name gets a number (``timeline_2``)."""
    named: dict[str, Any] = {}
    for node in callbacks if isinstance(callbacks, list) else [] if callbacks is None else [callbacks]:
        entry = {"class_path": node} if isinstance(node, str) else node
        name = name_of(entry)
        used = sum(known == name or re.fullmatch(rf"{re.escape(name)}_\d+", known) is not None for known in named)
        named[f"{name}_{used + 1}" if used else name] = entry
    return named


def name_of(entry: Any) -> str:
    """The name of an entry of a list.

    That of its class's file (``callbacks.timeline.TimelineImages`` is ``timeline``); for Lightning's own, which are
    named by their package, that of the class (``lightning.pytorch.callbacks.ModelCheckpoint``: ``model_checkpoint``).
    """
    path = str(entry.get("class_path", "")) if isinstance(entry, dict) else ""
    package, _, name = path.rpartition(".")
    if package.startswith("lightning.") or not package:
        return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower() or "unnamed"
    return package.rpartition(".")[2]


def listed(recipe: dict[str, Any]) -> dict[str, Any]:
    """A resolved recipe with its callbacks as the list that Lightning takes."""
    callbacks = callbacks_of(recipe)
    if not is_named(callbacks):
        return recipe
    present = [entry for entry in callbacks.values() if entry is not None]
    return {**recipe, "trainer": {**recipe["trainer"], "callbacks": present}}
