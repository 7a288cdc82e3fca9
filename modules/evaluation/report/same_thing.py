"""Which systems of several runs are one thing: seeds of one method are pooled, different methods stand side by side.

Two systems of one name are the same thing where their runs were made by one recipe but for seeds and places, or where
the cards of their runs describe them alike, weights included (uniform frames, beside whatever else was evaluated).
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from modules.evaluation.report.run_folder import EvaluatedRun

_PLACES = {
    "run_dir",
    "dirpath",
    "root",
    "feature_dir",
    "working_folder",
    "tracking_uri",
    "artifact_location",
    "num_workers",
}
_NO_PART = {"name", "vars", "shortcuts", "base", "stage", "from_checkpoint", "checkpoint"}
_NO_PART_OF_TRAINER = {"logger", "accelerator", "strategy", "devices", "num_nodes", "default_root_dir"}
_SETTING = ("num_frames", "mllm_key", "trained in the mllm", "prompt", "grid", "encoder", "frame_size")
_OF_FRAMES = ("num_frames", "grid", "encoder", "frame_size")


def recipe_key(run: EvaluatedRun) -> str:
    """What the run was made by, as one text, without seeds and places; its own folder where that is not known."""
    if not run.recipe:
        return str(run.folder.absolute())
    own = _without_seeds({key: value for key, value in run.recipe.items() if key not in _NO_PART})
    if isinstance(trainer := own.get("trainer"), dict):
        own["trainer"] = {key: value for key, value in trainer.items() if key not in _NO_PART_OF_TRAINER}
    own["checkpoint"] = (
        None if "fit" in str(run.recipe.get("stage")) else _trained_key(run, run.recipe.get("checkpoint"))
    )
    weights = _at(own, "model", "init_args", "weights")
    if isinstance(weights, dict):
        own["model"]["init_args"]["weights"] = {name: _trained_key(run, place) for name, place in weights.items()}
    return json.dumps(own, sort_keys=True, default=str)


def _trained_key(run: EvaluatedRun, checkpoint: Any) -> Any:
    """The recipe that trained a checkpoint, where it is still there; else its path, which is nobody else's."""
    if not isinstance(checkpoint, str):
        return None
    for place in run.places:
        for folder in (place / checkpoint, *(place / checkpoint).parents[:2]):
            try:
                trained = yaml.safe_load((folder / "recipe.yaml").read_text(encoding="utf-8"))
            except (OSError, ValueError, yaml.YAMLError):
                continue
            if isinstance(trained, dict):
                parts = {key: trained.get(key) for key in ("model", "data")}
                return {**_without_seeds(parts), "max_steps": _at(trained, "trainer", "max_steps")}
    return checkpoint


def _without_seeds(node: Any) -> Any:
    if isinstance(node, Mapping):
        kept = (key for key in node if "seed" not in str(key) and key not in _PLACES)
        return {str(key): _without_seeds(node[key]) for key in kept}
    return [_without_seeds(value) for value in node] if isinstance(node, list) else node


def description_key(run: EvaluatedRun, system: str) -> str | None:
    """How the card describes a system, weights included, with what it was run under; None without a card."""
    described = run.card.get("systems")
    if not isinstance(described, dict) or system not in described:
        return None
    sees_frames = described[system] != "Blind"
    setting = [run.card.get(key) for key in _SETTING if sees_frames or key not in _OF_FRAMES]
    return json.dumps([described[system], *setting], default=str)


def num_frames_of(run: EvaluatedRun) -> int | None:
    """K of a run, as its card or its recipe says."""
    told = run.card.get("num_frames")
    if told is None:
        told = in_recipe(run, "model", "init_args", "num_frames")
    return told if isinstance(told, int) else None


def in_recipe(run: EvaluatedRun, *keys: str) -> Any:
    """What a run's recipe says at some keys, one below another; None where it says nothing."""
    return _at(run.recipe, *keys)


def _at(node: Any, *keys: str) -> Any:
    """What lies below some keys, one after another; None where that is nothing."""
    for key in keys:
        node = node.get(key) if isinstance(node, Mapping) else None
    return node


def family(folders: list[Path], with_time: bool = True) -> str:
    """A name for some run folders: ``grpo`` of grpo_s0 and grpo_s1; the recipe's where they are named after the time,
    which a single one keeps.

    Args:
        folders: of runs of one thing.
        with_time: whether a single one keeps it.
    """
    names = [folder.absolute().name for folder in folders]
    if all(name[:1].isdigit() for name in names):
        recipe = folders[0].absolute().parent.name
        return f"{recipe} {names[0]}" if len(names) == 1 and with_time else recipe
    alike = itertools.takewhile(lambda letters: len(set(letters)) == 1, zip(*names, strict=False))
    common = "".join(letters[0] for letters in alike)
    return re.sub(r"[-_. ]+(seed|s)?[-_. ]*\d*$", "", common) or names[0]
