"""The recipe by which questions are answered from Python, whatever somebody names: a run, a checkpoint, a recipe.

It is ``recipes/ask.yaml`` with what the checkpoint knows of itself, as on the command line, or an evaluation's own
recipe. Beside its systems stand those that cost nothing to add: the baselines of the training, uniform frames, and no
frames at all. Its data is any question instead of one, or of a benchmark.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from recipes.launcher.from_checkpoint import merged_with_checkpoint, recorded_recipe, taken
from recipes.launcher.guard import ROOT
from recipes.launcher.merge import expand_shortcuts, merge, resolve
from recipes.launcher.mistakes import RecipeError
from recipes.launcher.problems import problems
from recipes.launcher.published import published_recipe
from recipes.launcher.reading import with_own_files
from recipes.launcher.runs import begun, resolve_checkpoint

_ASK = str(ROOT / "recipes" / "ask.yaml")
_SYSTEM = "modules.systems.sampler_system.SamplerSystem"
_ORACLE, _BLIND = "modules.systems.yardsticks.Oracle", "modules.systems.yardsticks.Blind"
_ORACLE_LOCALIZER = "modules.methods.videolucy.localizers.OracleLocalizer"
_UNIFORM = "modules.methods.training_free.uniform.Uniform"
_DATA = (
    "encoder",
    "feature_dir",
    "candidate_fps",
    "max_candidates",
    "short_side_px",
    "feature_short_side_px",
)
"""Of a recipe's data: what concerns any video, and not a set of questions."""


@dataclass(frozen=True)
class AnsweringRecipe:
    """A checked recipe of systems that answer."""

    systems: dict[str, Any]
    """By name, the trained one first where there is one."""
    model: dict[str, Any]
    """Arguments of `modules.evaluation.evaluation_module.EvaluationModule`, without the systems."""
    data: dict[str, Any]
    """Of `datamodules.questions.given.GivenQuestions`, as a class with its arguments."""
    checkpoint: Path | None
    """With the weights of the trained system."""
    serve: dict[str, Any] = field(default_factory=dict)
    """Of `recipes.serving.serving_settings.ServingSettings`, where the recipe says how it is served."""


def answering_recipe(source: str, settings: Mapping[str, Any], folders: Sequence[Path]) -> AnsweringRecipe:
    """Finds out what somebody means, and checks it as the command line does.

    Args:
        source: a run's folder, a checkpoint, a folder of `lightning consolidate`, a published TSPO folder,
            ``last:NAME``, or a recipe.
        settings: values by the recipe's dotted keys or short names, over what the source says.
        folders: that may hold classes of the person's own.

    Raises:
        ValueError: there is no such thing, or its recipe has mistakes.
    """
    words = [word for key, value in settings.items() for word in (f"--{key}", _as_typed(value))]
    merged, baselines = _merged(source, words)
    recipe = resolve(merged, source)
    arguments = dict(recipe["model"]["init_args"])
    systems = _systems(arguments.pop("systems"), str(arguments.get("trained", "sampler")), baselines)
    content = (recipe.get("data") or {}).get("init_args") or {}
    data = {
        "class_path": "datamodules.questions.given.GivenQuestions",
        "init_args": {
            **{key: content[key] for key in _DATA if key in content},
            "decoding": {**(content.get("decoding") or {}), "on_bad_video": "raise"},
        },
    }
    answering = arguments.get("answering") or {}
    # one question is not worth the tokens of all candidates
    arguments["answering"] = {**answering, "store_frame_tokens": False}
    model = {**recipe["model"], "init_args": {**arguments, "systems": systems}}
    whole = {**recipe, "data": data, "model": model, "stage": "predict", "from_checkpoint": None}
    if mistakes := problems(whole, folders):
        raise RecipeError(source, mistakes)
    checkpoint = resolve_checkpoint(recipe["checkpoint"]) if recipe.get("checkpoint") else None
    return AnsweringRecipe(systems, arguments, data, checkpoint, recipe.get("serve") or {})


def _as_typed(value: Any) -> str:
    """A value as it would be typed on the command line."""
    return value if isinstance(value, str) else json.dumps(value)


def _merged(source: str, words: list[str]) -> tuple[DictConfig, dict[str, Any]]:
    """The recipe whose systems answer, and samplers that it can be compared with."""
    path = Path(str(with_own_files(source)))
    recorded = path / "recipe.yaml"
    if path.is_dir() and recorded.is_file() and not begun(str(path)):
        path = recorded  # an evaluation's folder
    if path.suffix in (".yaml", ".yml"):
        return _of_recipe(str(path), words)
    known = published_recipe(path)
    if known is None:
        known = recorded_recipe(resolve_checkpoint(source)) or {}
    return merged_with_checkpoint([_ASK], ["--checkpoint", source, *words]), _baselines(known)


def _of_recipe(file: str, words: list[str]) -> tuple[DictConfig, dict[str, Any]]:
    """Of an evaluation's recipe itself; of a training's recipe, whose sampler is as it begins."""
    merged = merge([file], [])
    model = OmegaConf.select(merged, "model.init_args")
    if model is None or not ("systems" in model or "sampler" in model):
        raise ValueError(
            f"{file} has nothing that answers questions: name a recipe with systems (recipes/ask.yaml, recipes/eval) "
            "or one that trains a sampler, a run's folder or a checkpoint"
        )
    if "systems" in model:
        return merged_with_checkpoint([file], words), {}
    recipe = resolve(merged, file)
    ask = merge([_ASK], [])
    known = taken(ask.from_checkpoint, recipe) | {"checkpoint": recipe["model"]["init_args"].get("init_from")}
    return merge([_ASK], expand_shortcuts([_ASK], words), known), _baselines(recipe)


def _baselines(recipe: dict[str, Any]) -> dict[str, Any]:
    node: Any = recipe
    for key in ("model", "init_args", "comparison", "baselines"):
        node = node.get(key) if isinstance(node, dict) else None
    return node if isinstance(node, dict) else {}


def _systems(own: dict[str, Any], trained: str, baselines: dict[str, Any]) -> dict[str, Any]:
    """By name; what is led by an oracle is left out, because nobody says where the answer can be seen."""

    def class_of(node: Any) -> Any:
        return node.get("class_path") if isinstance(node, dict) else node

    def knows(node: Any) -> bool:
        arguments = node.get("init_args") if isinstance(node, dict) else None
        localizer = class_of(arguments.get("localizer")) if isinstance(arguments, dict) else None
        return class_of(node) == _ORACLE or localizer == _ORACLE_LOCALIZER

    found = {trained: own[trained]} if own.get(trained) is not None else {}
    found |= {name: node for name, node in own.items() if node is not None and not knows(node)}
    added = {"uniform": {"class_path": _UNIFORM}} | baselines
    found |= {
        name: {"class_path": _SYSTEM, "init_args": {"sampler": node}}
        for name, node in added.items()
        if name not in found
    }
    return found if "blind" in found else {**found, "blind": {"class_path": _BLIND}}
