"""What a checkpoint is, taken from its own recipe: the sampler's class and settings, and what else a recipe asks of it.

A recipe that uses trained parts says under ``from_checkpoint`` which of its keys the run that trained them knows
better::

    from_checkpoint:
      model.init_args.systems.sampler.init_args.sampler: model.init_args.sampler

A run's recipe lies in its folder, and every checkpoint has it inside, for files that were copied away. What is found
goes over the recipe's own file and below overlays and the command line, and is checked like them.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from recipes.launcher.mistakes import RecipeError
from recipes.launcher.moved import up_to_date
from recipes.launcher.reading import content_of
from recipes.launcher.recipe_files import read_recipe
from recipes.launcher.references import malformed
from recipes.launcher.runs import resolve_checkpoint

RECIPE_KEY = "recipe"
"""Of a checkpoint: the text of the recipe that it was trained by."""
_log = logging.getLogger(__name__)
_ABSENT = object()


def known_of_checkpoint(merged: DictConfig) -> dict[str, Any] | None:
    """What a merged recipe's checkpoint says of the keys that ``from_checkpoint`` names; None where it says nothing.

    Raises:
        RecipeError: the recipe in the checkpoint cannot be read.
    """
    wanted, named = merged.get("from_checkpoint"), merged.get("checkpoint")
    if not isinstance(named, str) or not OmegaConf.is_dict(wanted):
        return None
    try:
        path = Path(resolve_checkpoint(named))
    except ValueError:
        return None  # whoever needs its weights says so
    recipe = _recipe_of(path)
    if recipe is None:
        _log.warning("%s does not say what it is; this recipe's own settings are taken for its sampler", path)
        return None
    content: dict[str, Any] = {}
    for here, there in wanted.items():
        value = _at(recipe, str(there))
        if value is not _ABSENT:
            _put(content, str(here), value)
    return content


def _recipe_of(path: Path) -> dict[str, Any] | None:
    beside = path.parent.parent / "recipe.yaml"
    try:
        if beside.is_file():
            return up_to_date(read_recipe(beside, str(path)))
        text = _inside(path) if path.suffix == ".ckpt" else None
        content = None if text is None else content_of(text)
    except ValueError as error:
        raise RecipeError(str(path), [f"the recipe of this checkpoint cannot be read: {error}"]) from error
    if not isinstance(content, dict):
        return None
    if mistakes := malformed(content):
        raise RecipeError(str(path), mistakes)
    return up_to_date(content)


def _inside(path: Path) -> str | None:
    from modules.checkpoints.checkpoint_files import read

    text = read(path).get(RECIPE_KEY)
    return text if isinstance(text, str) else None


def _at(node: Any, key: str) -> Any:
    for part in key.split("."):
        if not isinstance(node, dict) or part not in node:
            return _ABSENT
        node = node[part]
    return node


def _put(content: dict[str, Any], key: str, value: Any) -> None:
    *parts, last = key.split(".")
    for part in parts:
        content = content.setdefault(part, {})
    content[last] = value
