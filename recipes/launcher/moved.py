"""Recipes from before the code had rooms: the classes they name, read as what those classes are called now.

A run's recorded ``recipe.yaml`` and a person's own recipes go on working. What is no longer there under any name is
refused with the key that has taken its place. Only what a recipe can name is listed here; modules that a person's own
code imports are in ``docs/log.md`` (2026-11-28).
"""

from __future__ import annotations

import functools
import logging
import os
from typing import Any

from recipes.launcher.moved_keys import (
    DATA,
    TRAINING_NOW,
    data_with_keys_of_now,
    refuse_listed_rewards,
    with_keys_of_now,
)

_METHODS = "modules.methods"
_FREE = f"{_METHODS}.training_free"
_BACKBONES = f"{_METHODS}.refocus.backbones"

MOVED: dict[str, str] = {
    "callbacks.comparison.Comparison": "callbacks.evaluation_report.EvaluationReport",
    "callbacks.evaluation.EvaluationReport": "callbacks.evaluation_report.EvaluationReport",
    "callbacks.mlflow_logger.BufferedMLFlowLogger": "callbacks.tracking.mlflow_logger.BufferedMLFlowLogger",
    "datamodules.annotated.AnnotatedVideos": "datamodules.questions.annotated.AnnotatedVideos",
    "datamodules.ask.AskData": "datamodules.questions.ask.AskData",
    "datamodules.needles.NeedleBuilder": "datamodules.questions.needles.NeedleBuilder",
    "modules.advantages.DifficultyAware": f"{_METHODS}.msjoe.difficulty.DifficultyAware",
    "modules.advantages.GroupNorm": "modules.rl.advantages.GroupNorm",
    "modules.backbones.gru.GRUBackbone": f"{_BACKBONES}.gru.GRUBackbone",
    "modules.backbones.mamba2.Mamba2Backbone": f"{_BACKBONES}.mamba2.Mamba2Backbone",
    "modules.backbones.transformer.TransformerBackbone": f"{_BACKBONES}.transformer.TransformerBackbone",
    "modules.checkpoint_files.PlainFiles": "modules.checkpoints.checkpoint_files.PlainFiles",
    "modules.decoding.BestOf": "modules.systems.readouts.BestOf",
    "modules.decoding.EvenlyWhereFew": "modules.systems.readouts.EvenlyWhereFew",
    "modules.decoding.Greedy": "modules.systems.readouts.MostProbable",
    "modules.decoding.Sampled": "modules.systems.readouts.Sampled",
    "modules.evaluation.EvaluationModule": "modules.evaluation.evaluation_module.EvaluationModule",
    "modules.evolution.EvolutionModule": "modules.rl.evolution.EvolutionModule",
    "modules.policies.IndependentDraws": "modules.selection.policies.IndependentDraws",
    "modules.policies.PlackettLuce": "modules.selection.policies.PlackettLuce",
    "modules.pretraining.answerer.AnswerPretraining": "modules.small_stack.answerer.AnswerPretraining",
    "modules.pretraining.contrastive.ContrastivePretraining": "modules.small_stack.contrastive.ContrastivePretraining",
    "modules.pretraining.tower.TowerPretraining": "modules.small_stack.tower.TowerPretraining",
    "modules.rewards.query_information.QueryInformation": f"{_METHODS}.msjoe.query_information.QueryInformation",
    "modules.samplers.msjoe.UNetSampler": f"{_METHODS}.msjoe.unet.UNetSampler",
    "modules.samplers.precomputed.Precomputed": f"{_FREE}.precomputed.Precomputed",
    "modules.samplers.refocus.ReFoCUSSampler": f"{_METHODS}.refocus.pointer_decoder.ReFoCUSSampler",
    "modules.samplers.refocus_prompt.QuestionPrompt": f"{_METHODS}.refocus.question_prompt.QuestionPrompt",
    "modules.samplers.spread.AKS": f"{_FREE}.aks.AKS",
    "modules.samplers.spread.BinMax": f"{_FREE}.bin_max.BinMax",
    "modules.samplers.training_free.TopK": f"{_FREE}.top_k.TopK",
    "modules.samplers.training_free.Uniform": f"{_FREE}.uniform.Uniform",
    "modules.samplers.tspo.TSPOSampler": f"{_METHODS}.tspo.agent.TSPOSampler",
    "modules.sharding.ShardedStrategy": "modules.distributed.sharding.ShardedStrategy",
    "recipes.jobs.difficulty.FilterByDifficulty": "recipes.jobs.filter_difficulty.FilterByDifficulty",
    "recipes.jobs.long_video_qa.LongVideoQAData": "recipes.jobs.write_long_video_qa.LongVideoQAData",
    "recipes.jobs.needles.BuildNeedles": "recipes.jobs.needle_questions.BuildNeedles",
}
"""Old path of a class to its path now."""

_QUERY_WRITING = (
    "model.init_args.query_writing is query_writer now, an object with the same settings: query_writer: {class_path: "
    "modules.methods.msjoe.query_writing.PreviewQueries, init_args: {template: ..., max_queries: ..., ...}}"
)


def up_to_date(content: Any) -> Any:
    """A file's content, or a value of the command line, with every class by its path of now.

    Raises:
        ValueError: it has a key, or rewards in a form, that another one has replaced; says which.
    """
    model = content.get("model") if isinstance(content, dict) else None
    arguments = model.get("init_args") if isinstance(model, dict) else None
    if model is not None and isinstance(arguments, dict) and "query_writing" in arguments:
        if arguments["query_writing"] is not None:
            raise ValueError(_QUERY_WRITING)
        used = {key: value for key, value in arguments.items() if key != "query_writing"}
        arguments = used  # a recorded recipe has every default in it
    if model is not None and isinstance(arguments, dict):
        given, class_path = arguments, str(model.get("class_path"))
        arguments = with_keys_of_now(class_path, given)
        if model.get("class_path") in (None, TRAINING_NOW):
            refuse_listed_rewards(arguments)
        if class_path not in MOVED and (gone := sorted(given.keys() - arguments.keys())):
            _notice_of_keys(", ".join(gone), class_path)
        content = {**content, "model": {**model, "init_args": arguments}}
    return _renamed(content)


def _renamed(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: _renamed(value) for key, value in _data_of_now(node).items()}
    if isinstance(node, list):
        return [_renamed(value) for value in node]
    if isinstance(node, str) and node in MOVED:
        _notice(node)
        return MOVED[node]
    return node


def _data_of_now(node: dict[str, Any]) -> dict[str, Any]:
    """A data module of a recipe, or of a job in it, with every setting under its key of now; else the node itself."""
    given = node.get("init_args")
    if node.get("class_path") not in DATA or not isinstance(given, dict):
        return node
    arguments = data_with_keys_of_now(given)
    if gone := sorted(given.keys() - arguments.keys()):
        _notice_of_keys(", ".join(gone), node["class_path"])
    return {**node, "init_args": arguments}


@functools.cache
def _notice(old: str) -> None:
    _say("class_path %s is %s now", old, MOVED[old])


@functools.cache
def _notice_of_keys(keys: str, class_path: str) -> None:
    _say("%s have moved in %s since this recipe was written; they are read as what they are now", keys, class_path)


def _say(message: str, *words: str) -> None:
    """Said once a process, and by one rank of a run."""
    if os.environ.get("LOCAL_RANK", "0") == "0":
        logging.getLogger(__name__).warning(message, *words)
