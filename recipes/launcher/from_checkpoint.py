"""What a checkpoint is, taken from its own recipe: the sampler's class and settings, and what else a recipe asks of it.

A recipe that uses trained parts says under ``from_checkpoint`` which of its keys the run that trained them knows
better::

    from_checkpoint:
      model.init_args.systems.sampler.init_args.sampler: model.init_args.sampler

A comparison may have several trained samplers, ``model.init_args.weights``, a checkpoint for each name: every one
becomes a system of that name, with the class and the settings of its own run.

A run's recipe lies in its folder; every checkpoint has it inside, for files that were copied away, and so has the
``sampler.safetensors`` that was made of one. A published TSPO folder says the same in its own way. What is found goes
over the file that asks for it, recipe or overlay, and below later overlays and the command line, and is checked like
them.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from recipes.launcher.merge import expand_shortcuts, merge
from recipes.launcher.mistakes import RecipeError
from recipes.launcher.moved import up_to_date
from recipes.launcher.published import published_recipe
from recipes.launcher.reading import content_of, read_text, with_own_files
from recipes.launcher.references import malformed
from recipes.launcher.runs import SAMPLER_FILE, resolve_checkpoint

_log = logging.getLogger(__name__)
_ABSENT = object()
_CONSOLIDATED, _MLLM = ".safetensors", "model.init_args.mllm"
_ENCODER = "data.init_args.encoder"
_SYSTEM = "modules.systems.sampler_system.SamplerSystem"


def merged_with_checkpoint(files: Sequence[str], overrides: Sequence[str], quiet: bool = False) -> DictConfig:
    """`merge`, with what the checkpoint that the recipe names says of itself.

    Args:
        files: the recipe and its overlays.
        overrides: words of the command line, short names and all.
        quiet: say nothing of what the checkpoint does not know.

    Raises:
        RecipeError: as of `merge`, or the recipe in the checkpoint cannot be read.
    """
    words = expand_shortcuts([*files], [*overrides])
    merged = merge([*files], words)
    known = known_of_checkpoint(merged, quiet) or {}
    for system in known_of_weights(merged, quiet):
        known = _beside(known, system)
    if known:
        merged = merge([*files], words, known)
    if isinstance(named := merged.get("checkpoint"), str) and published_recipe(Path(named)) is not None:
        merged.checkpoint = None  # its sampler reads the folder itself
    return merged


def known_of_checkpoint(merged: DictConfig, quiet: bool = False) -> dict[str, Any] | None:
    """What a merged recipe's checkpoint says of the keys that ``from_checkpoint`` names; None where it says nothing.

    Raises:
        RecipeError: the recipe in the checkpoint cannot be read.
    """
    wanted, named = merged.get("from_checkpoint"), merged.get("checkpoint")
    if not isinstance(named, str) or not OmegaConf.is_dict(wanted):
        return None
    recipe = published_recipe(Path(named))
    if recipe is None:
        try:
            path = resolve_checkpoint(named)
        except ValueError:
            return None  # whoever needs its weights says so
        recipe = recorded_recipe(path)
    if recipe is None:
        if not quiet:
            _log.warning("%s does not say what it is; this recipe's own settings are taken for its sampler", path)
        return None
    known = taken(wanted, recipe)
    if not quiet:
        _say_who_answers(merged, known, named, recipe)
    return known


def known_of_weights(merged: DictConfig, quiet: bool = False) -> list[dict[str, Any]]:
    """The systems that ``model.init_args.weights`` asks for, each as what a recipe says of it.

    Raises:
        RecipeError: the recipe in a checkpoint cannot be read, or there is none.
    """
    weights = OmegaConf.select(merged, "model.init_args.weights", throw_on_resolution_failure=False)
    found = []
    for name, named in (weights or {}).items() if OmegaConf.is_dict(weights) else ():
        key, system = f"model.init_args.weights.{name}", f"model.init_args.systems.{name}"
        try:
            path = None if named is None else resolve_checkpoint(str(named))
        except ValueError:
            path = None  # whoever needs its weights says so
        if path is None:
            continue
        recipe = recorded_recipe(path)
        if recipe is None or not isinstance(_at(recipe, "model.init_args.sampler"), dict):
            raise RecipeError(str(path), [f"{key}: this file does not say which sampler it is; use --checkpoint"])
        parts = {part: f"model.init_args.{part}" for part in ("sampler", "query_writer")}
        content = taken({f"{system}.init_args.{part}": there for part, there in parts.items()}, recipe)
        _put(content, f"{system}.class_path", _SYSTEM)
        found.append(content)
        own = OmegaConf.select(merged, f"{_ENCODER}.init_args.model", throw_on_resolution_failure=False)
        trained = _at(recipe, f"{_ENCODER}.init_args.model")
        if not quiet and isinstance(trained, str) and Path(trained).name != Path(str(own)).name:
            _log.warning("%s was trained on features of %s, and gets those of %s here", name, trained, own)
    return found


def _beside(known: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    """Both as one."""
    merged: Any = OmegaConf.to_container(OmegaConf.merge(OmegaConf.create(known), OmegaConf.create(more)))
    return dict(merged)


def _say_who_answers(merged: DictConfig, known: dict[str, Any], named: str, recipe: dict[str, Any]) -> None:
    """A sampler may answer with another MLLM than it was trained with, but not without a word."""
    trained = _at(recipe, f"{_MLLM}.init_args.path")
    here = OmegaConf.select(merged, f"{_MLLM}.init_args.path", throw_on_resolution_failure=False)
    if _at(recipe, _MLLM) is _ABSENT:
        _log.warning("%s does not say which MLLM it was trained with; this recipe's own answers: %s", named, here)
    elif _at(known, _MLLM) is _ABSENT and _trained_beside(trained) and str(trained) != str(Path(str(here)).absolute()):
        _log.warning(
            "the MLLM of %s was trained too, and this recipe keeps its own, %s; --model.mllm.path %s takes it",
            *(named, here, trained),
        )


def _trained_beside(mllm: Any) -> bool:
    """Whether a path is that of an MLLM that `lightning consolidate` has put beside its sampler."""
    return isinstance(mllm, str) and Path(mllm).is_dir() and (Path(mllm).parent / SAMPLER_FILE).is_file()


def taken(wanted: Any, recipe: dict[str, Any]) -> dict[str, Any]:
    """What a training's recipe says of the keys of another; ``wanted`` maps keys there to keys here.

    Where one key is part of another it comes after it, and goes into what that one has brought: an agent is taken as a
    system first, then its sampler is put into that. What is null of such a part is left out, since the class may not
    have it (an agent has no query writer).
    """
    content: dict[str, Any] = {}
    brought: list[str] = []
    for here, there in wanted.items():
        value = _at(recipe, str(there))
        inside = any(str(here).startswith(f"{whole}.") for whole in brought)
        if value is _ABSENT or (value is None and inside):
            continue
        _put(content, str(here), copy.deepcopy(value))
        if isinstance(value, dict):
            brought.append(str(here))
    return content


def recorded_recipe(path: Path) -> dict[str, Any] | None:
    """The recipe of the run that wrote a checkpoint, as a recipe of now; None where it has none.

    The MLLM of a consolidated run is the one that lies beside the file, its adapters merged into it.

    Raises:
        RecipeError: it cannot be read.
    """
    try:
        text = recorded_text(path)
        content = None if text is None else content_of(text)
    except ValueError as error:
        raise RecipeError(str(path), [f"the recipe of this checkpoint cannot be read: {error}"]) from error
    if not isinstance(content, dict):
        return None
    if mistakes := malformed(content):
        raise RecipeError(str(path), mistakes)
    recipe: dict[str, Any] = with_own_files(up_to_date(content))
    return _with_mllm_beside(recipe, path) if path.suffix == _CONSOLIDATED else recipe


def _with_mllm_beside(recipe: dict[str, Any], path: Path) -> dict[str, Any]:
    """A consolidated run's recipe with the MLLM that it trained, if it trained one; LoRA is merged into that."""
    from modules.checkpoints.checkpoint_files import read
    from modules.checkpoints.sampler_files import MLLM_FOLDER, MLLM_KEY

    mllm = _at(recipe, f"{_MLLM}.init_args")
    if MLLM_KEY in read(path) and isinstance(mllm, dict):
        mllm["path"] = str(path.parent.absolute() / MLLM_FOLDER)
        loading = mllm.get("loading")
        mllm["loading"] = {**loading, "lora": None} if isinstance(loading, dict) else loading
    return recipe


def recorded_text(path: Path) -> str | None:
    """The recipe of a checkpoint as it was written, from its run's folder or from inside.

    Raises:
        ValueError: it cannot be read.
    """
    beside = path.parent.parent / "recipe.yaml"
    if path.parent.name == "checkpoints" and beside.is_file():
        return read_text(beside)
    if path.suffix not in (".ckpt", _CONSOLIDATED):
        return None
    from modules.checkpoints.checkpoint_files import read
    from modules.checkpoints.sampler_files import RECIPE_KEY

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
        if content.get(part) is None:
            content[part] = {}
        content = content[part]
    content[last] = value
