"""What a run is in a table of runs: its recipe's values, the method that chooses frames, and the world it looks at."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from callbacks.provenance import Description
from recipes.launcher.reading import content_of
from recipes.launcher.recipe_values import values_by_key

_ELSEWHERE = ("stage", "vars", "shortcuts", "from_checkpoint", "trainer.logger")
"""Keys whose values stand in their places already, or say what is done with a run and where it is kept."""


def description(text: str) -> Description:
    """Of a recipe.

    Args:
        text: of the recipe as it is built, with every default.
    """
    recipe = content_of(text)
    run_dir = str(recipe["run_dir"])
    settings = {
        key: value
        for key, value in values_by_key(recipe).items()
        if value is not None and not _is_elsewhere(key) and not f"{value}/".startswith(f"{run_dir}/")
    }
    return Description(settings, {"method": method_of(recipe), "world": world_of(recipe)})


def _is_elsewhere(key: str) -> bool:
    return any(f"{key}.".startswith(f"{place}.") for place in _ELSEWHERE)


def method_of(recipe: Mapping[str, Any]) -> str:
    """The method whose frames are taken, or all that are compared: ``tspo``, ``uniform, clip_topk, sampler``.

    A method of Kairos is called as its room is, a rule without training and a class of one's own as their classes are.
    """
    model = recipe["model"]
    arguments = model.get("init_args") or {}
    systems = arguments.get("systems")
    if isinstance(systems, Mapping):
        return ", ".join(name for name, system in systems.items() if system is not None)
    parts = (_class_path(arguments.get("sampler")) or model["class_path"]).split(".")
    in_a_room = parts[:2] == ["modules", "methods"] and parts[2] != "training_free"
    return parts[2] if in_a_room else parts[-1]


def _class_path(node: Any) -> str | None:
    """Of a class with its arguments, or named by its path alone; None for anything else."""
    return node.get("class_path") if isinstance(node, Mapping) else node if isinstance(node, str) else None


def world_of(recipe: Mapping[str, Any]) -> str:
    """The videos and questions that a run sees: ``haystack``, or the names of its data sets."""
    data = recipe["data"]
    if data["class_path"].startswith("datamodules.haystack."):
        return "haystack"
    sources = ((data.get("init_args") or {}).get(split) for split in ("train", "val", "test"))
    return ", ".join(dict.fromkeys(_names(sources))) or data["class_path"].rpartition(".")[2]


def _names(sources: Iterable[Any]) -> Iterator[str]:
    """What data sets are called: by the recipe, or else as the class that reads them."""
    for source in sources:
        if (path := _class_path(source)) is not None:
            arguments = source.get("init_args") if isinstance(source, Mapping) else None
            yield str((arguments or {}).get("name") or path.rpartition(".")[2])
