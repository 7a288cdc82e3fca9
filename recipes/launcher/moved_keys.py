"""Settings of recipes from before: what they are called now, for recipes that are whole and name the old class.

A recorded ``recipe.yaml`` has every setting of its run in it, so each can be put where it is now. In a part of a recipe
(an overlay, a recipe with a ``base``) an old key is refused by `recipes.launcher.check`, which names the new one.
"""

from __future__ import annotations

from typing import Any

TRAINING, EVALUATION = "modules.evolution.EvolutionModule", "modules.evaluation.EvaluationModule"
"""Old class paths, by which a whole recipe from before is known."""

_OPTIMIZER = (
    "learning_rate",
    "lr_scheduler_type",
    "warmup_steps",
    "weight_decay",
    "max_grad_norm",
    "accumulate",
    "max_nonfinite_steps",
)
_ANSWERING = ("store_frame_tokens", "rows_per_forward", "max_new_tokens", "canary")
_SYSTEM = "modules.systems.sampler_system.SamplerSystem"


def with_keys_of_now(class_path: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """The ``init_args`` of an old model with every setting under its key of now."""
    if class_path == TRAINING:
        return _training(dict(arguments))
    return _evaluation(dict(arguments)) if class_path == EVALUATION else arguments


def data_with_keys_of_now(arguments: dict[str, Any]) -> dict[str, Any]:
    """The ``init_args`` of a data module with every setting under its key of now."""
    return {{"selections_arm": "selections_system"}.get(key, key): value for key, value in arguments.items()}


def _training(arguments: dict[str, Any]) -> dict[str, Any]:
    for new, keys in (("optimizer", _OPTIMIZER), ("answering", _ANSWERING)):
        settings = {key: arguments.pop(key) for key in keys if key in arguments}
        if settings:
            arguments[new] = settings
    if "judge_by" in arguments:
        arguments["grade_by"] = arguments.pop("judge_by")
    terms, of_mllm = arguments.get("rewards"), arguments.pop("reward_weights", None)
    of_sampler = arguments.pop("sampler_reward_weights", None) or of_mllm
    if isinstance(terms, list):
        arguments["rewards"] = {
            _name(term): {
                "reward": term,
                "weight": 1.0 if of_sampler is None else of_sampler[number],
                "mllm_weight": 1.0 if of_mllm is None else of_mllm[number],
            }
            for number, term in enumerate(terms)
        }
    return arguments


def _name(term: Any) -> str:
    """The file of a reward's class, which is what it is logged as."""
    class_path = term["class_path"] if isinstance(term, dict) else str(term)
    return class_path.split(".")[-2]


def _evaluation(arguments: dict[str, Any]) -> dict[str, Any]:
    systems: dict[str, Any] = {
        name: None if sampler is None else {"class_path": _SYSTEM, "init_args": {"sampler": sampler}}
        for name, sampler in (arguments.pop("samplers", None) or {}).items()
    }
    for name, readout in (arguments.pop("decodings", None) or {}).items():
        systems[name] = {"class_path": _SYSTEM, "init_args": {"like": "sampler", "readout": readout}}
    for name in ("blind", "oracle"):
        if arguments.pop(name, False):
            systems[name] = {"class_path": f"modules.systems.yardsticks.{name.capitalize()}"}
    return {**arguments, "systems": systems}
