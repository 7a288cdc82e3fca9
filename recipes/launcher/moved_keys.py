"""Settings of recipes from before: what they are called now, for recipes that are whole and name the old class.

A recorded ``recipe.yaml`` has every setting of its run in it, so each can be put where it is now. In a part of a recipe
(an overlay, a recipe with a ``base``) an old key is refused by `recipes.launcher.check`, which names the new one. Of a
class whose path is what it was, a whole recipe is known by having the class's path beside an old key.
"""

from __future__ import annotations

from typing import Any

from recipes.launcher.mistakes import written

TRAINING, EVALUATION = "modules.evolution.EvolutionModule", "modules.evaluation.EvaluationModule"
"""Class paths of before there were rooms."""
TRAINING_NOW = "modules.rl.evolution.EvolutionModule"
EVALUATION_NOW = "modules.evaluation.evaluation_module.EvaluationModule"

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
_ROLLOUTS, _COMPARISON = ("advantage", "seed"), ("grade_by", "baselines")
DATA = (
    "datamodules.annotated.AnnotatedVideos",
    "datamodules.ask.AskData",
    "datamodules.haystack.datamodule.HaystackData",
    "datamodules.questions.annotated.AnnotatedVideos",
    "datamodules.questions.ask.AskData",
)
"""Data modules of questions about videos, as they are called now and as they were."""
_DECODING = ("on_bad_video", "num_workers", "timeout_s", "pixel_cache_mib")
_FILTER = ("pass_rates", "pass_rate_range", "train_ids")
_SYSTEM = "modules.systems.sampler_system.SamplerSystem"


def with_keys_of_now(class_path: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """The ``init_args`` of an old model with every setting under its key of now."""
    arguments = dict(arguments)
    if class_path == TRAINING:
        arguments = _training(arguments)
    if class_path == EVALUATION:
        arguments = _evaluation(arguments)
    if class_path in (TRAINING, TRAINING_NOW):
        _group(arguments, "grpo", _ROLLOUTS)
        _group(arguments, "comparison", _COMPARISON)
    if class_path in (EVALUATION, EVALUATION_NOW) and _group(arguments, "answering", _ANSWERING):
        arguments["answering"].setdefault("rows_per_forward", 8)  # the default of the key that was
    return arguments


def _group(arguments: dict[str, Any], group: str, keys: tuple[str, ...]) -> bool:
    """Puts those of the keys that are there into their group; whether there were any."""
    settings = {key: arguments.pop(key) for key in keys if key in arguments}
    if settings:
        arguments[group] = {**(arguments.get(group) or {}), **settings}
    return bool(settings)


def data_with_keys_of_now(arguments: dict[str, Any]) -> dict[str, Any]:
    """The ``init_args`` of one of `DATA` with every setting under its key of now."""
    arguments = dict(arguments)
    if "decode_timeout_s" in arguments:
        arguments["timeout_s"] = arguments.pop("decode_timeout_s")
    _group(arguments, "decoding", _DECODING)
    _group(arguments, "filter", _FILTER)
    systems = [arguments.pop(key) for key in ("selections_system", "selections_arm") if key in arguments]
    if isinstance(path := arguments.get("selections"), str):
        arguments["selections"] = {"path": path, "system": next(iter(systems), None)}
    return arguments


def _training(arguments: dict[str, Any]) -> dict[str, Any]:
    _group(arguments, "optimizer", _OPTIMIZER)
    _group(arguments, "answering", _ANSWERING)
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


def refuse_listed_rewards(arguments: dict[str, Any]) -> None:
    """Says how a list of rewards in a part of a recipe is written now.

    Raises:
        ValueError: there is one.
    """
    if not isinstance(terms := arguments.get("rewards"), list):
        return
    weights = arguments.get("sampler_reward_weights") or arguments.get("reward_weights")
    weights = weights if isinstance(weights, list) and len(weights) == len(terms) else [1.0] * len(terms)
    named: dict[str, Any] = {}
    for term, weight in zip(terms, weights, strict=True):
        reward = term.get("reward", term) if isinstance(term, dict) else term
        path = reward.get("class_path") if isinstance(reward, dict) else reward
        name = ".".join(str(path).split(".")[-2:-1]) or f"reward_{len(named)}"
        named[f"{name}_{len(named)}" if name in named else name] = {"reward": reward, "weight": weight}
    raise ValueError(
        f"model.init_args.rewards: a list gives its rewards no names, and a weight stands beside its reward; write "
        f"{written({'rewards': named})}, and NAME: null for a reward of the recipe's own that is to be left out"
    )


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
