"""Recipes and checkpoints from before the code had rooms."""

from __future__ import annotations

import importlib
import logging
import os
import subprocess
import sys
from pathlib import Path

import lightning as L
import pytest
from lightning.pytorch.trainer import call

from callbacks.curriculum import FrameCurriculum
from callbacks.learning_curve import LearningCurve
from recipes.launcher import moved
from recipes.launcher.check import check
from recipes.launcher.guard import ROOT
from recipes.launcher.merge import merge
from recipes.launcher.mistakes import RecipeError

RECORDED = str(Path(__file__).parent / "recorded/tspo.yaml")


@pytest.mark.parametrize("old", moved.MOVED)
def test_each_class_is_where_the_table_says_and_no_longer_where_it_was(old: str) -> None:
    module, _, name = moved.MOVED[old].rpartition(".")
    assert getattr(importlib.import_module(module), name).__module__ == module
    module, _, old_name = old.rpartition(".")
    file = (ROOT / module.replace(".", "/")).with_suffix(".py")
    assert not file.is_file() or f"class {old_name}" not in file.read_text()
    renamed = {"Greedy": "MostProbable", "Comparison": "EvaluationReport"}  # neither has a state in checkpoints
    assert name == renamed.get(old_name, old_name)  # callbacks' states in checkpoints go by this name


def test_a_recorded_recipe_passes_check_and_says_once_what_has_moved(monkeypatch, caplog) -> None:
    monkeypatch.chdir(ROOT)
    moved._notice.cache_clear()
    with caplog.at_level(logging.WARNING):
        merged = check(RECORDED, [], [])
        check(RECORDED, [], [])
    said = "class_path modules.samplers.tspo.TSPOSampler is modules.methods.tspo.agent.TSPOSampler now"
    assert caplog.messages.count(said) == 1
    assert len(caplog.messages) == len(set(caplog.messages)) == 8
    assert merged.model.class_path == "modules.rl.evolution.EvolutionModule"
    assert merged.model.init_args.sampler.init_args.policy == "modules.selection.policies.PlackettLuce"
    assert "query_writing" not in merged.model.init_args
    assert merged.model.init_args.optimizer.learning_rate == 2.0e-3
    assert merged.model.init_args.answering.store_frame_tokens
    assert merged.model.init_args.grpo.advantage is None
    assert merged.model.init_args.comparison.keys() == {"grade_by", "baselines"}
    decoding = {"on_bad_video": "skip", "num_workers": 2, "timeout_s": 60.0, "pixel_cache_mib": 2048}
    assert merged.data.init_args.decoding == decoding
    assert merged.data.init_args.filter == {"pass_rates": None, "pass_rate_range": None, "train_ids": None}
    assert merged.data.init_args.selections is None
    assert {n: t.weight for n, t in merged.model.init_args.rewards.items()} == {"probability": 1.0, "accuracy": 0.0}


def test_the_samplers_of_an_old_evaluation_are_systems() -> None:
    uniform = {"class_path": "modules.samplers.training_free.Uniform"}
    old = {
        "model": {
            "class_path": "modules.evaluation.EvaluationModule",
            "init_args": {
                "samplers": {"sampler": uniform, "other": None},
                "blind": True,
                "oracle": False,
                "decodings": {"drawn": {"class_path": "modules.decoding.Sampled"}},
            },
        }
    }
    arguments = moved.up_to_date(old)["model"]["init_args"]
    assert arguments.keys() == {"systems"}
    assert arguments["systems"]["other"] is None
    assert arguments["systems"]["blind"] == {"class_path": "modules.systems.yardsticks.Blind"}
    assert arguments["systems"]["drawn"]["init_args"]["readout"]["class_path"] == "modules.systems.readouts.Sampled"
    found = arguments["systems"]["sampler"]["init_args"]["sampler"]["class_path"]
    assert found == "modules.methods.training_free.uniform.Uniform"


def test_settings_that_have_moved_are_found_in_a_whole_recipe_and_said_once(caplog) -> None:
    moved._notice_of_keys.cache_clear()
    group_norm = {"class_path": "modules.rl.advantages.GroupNorm", "init_args": {"min_std": 1e-3}}
    model = {
        "class_path": "modules.rl.evolution.EvolutionModule",
        "init_args": {
            "evolve": "joint",
            "grpo": {"num_generations": 4},
            "advantage": group_norm,
            "seed": 3,
            "grade_by": "text",
            "baselines": None,
        },
    }
    with caplog.at_level(logging.WARNING):
        arguments = [moved.up_to_date({"model": model})["model"]["init_args"] for _ in range(2)][1]
    assert arguments == {
        "evolve": "joint",
        "grpo": {"num_generations": 4, "advantage": group_norm, "seed": 3},
        "comparison": {"grade_by": "text", "baselines": None},
    }
    assert len(caplog.messages) == 1
    assert "advantage, baselines, grade_by, seed have moved" in caplog.messages[0]
    assert moved.up_to_date({"model": {**model, "init_args": arguments}})["model"]["init_args"] == arguments


@pytest.mark.parametrize("name", ["datamodules.annotated.AnnotatedVideos", "datamodules.questions.ask.AskData"])
def test_the_settings_of_an_old_data_module_are_in_their_groups(name: str, caplog) -> None:
    moved._notice_of_keys.cache_clear()
    old = {
        "class_path": name,
        "init_args": {
            "batch_size": 2,
            "decode_timeout_s": 5.0,
            "train_ids": "kept.jsonl",
            "selections": "a.jsonl",
            "selections_arm": "uniform",
        },
    }
    now = {
        "batch_size": 2,
        "decoding": {"timeout_s": 5.0},
        "filter": {"train_ids": "kept.jsonl"},
        "selections": {"path": "a.jsonl", "system": "uniform"},
    }
    with caplog.at_level(logging.WARNING):
        found = moved.up_to_date({"data": old})["data"]
    assert found["init_args"] == now
    assert "decode_timeout_s, selections_arm, train_ids have moved in " + name in caplog.text
    assert moved.up_to_date({"job": {"init_args": {"data": old}}})["job"]["init_args"]["data"] == found
    assert moved.up_to_date({"data": found}) == {"data": found}
    own = {"class_path": "mine.Data", "init_args": old["init_args"]}
    assert moved.up_to_date({"data": own}) == {"data": own}


@pytest.mark.parametrize("class_path", ["modules.evaluation", "modules.evaluation.evaluation_module"])
def test_how_an_old_evaluation_answers_is_a_group(class_path: str) -> None:
    old = {"class_path": f"{class_path}.EvaluationModule", "init_args": {"systems": {}, "max_new_tokens": 4}}
    arguments = moved.up_to_date({"model": old})["model"]["init_args"]
    assert arguments == {"systems": {}, "answering": {"max_new_tokens": 4, "rows_per_forward": 8}}


@pytest.mark.parametrize(
    ("recipe", "key", "value", "now"),
    [
        ("tspo.yaml", "model.seed", "3", "grpo.seed"),
        ("tspo.yaml", "model.advantage", "modules.rl.advantages.GroupNorm", "grpo.advantage"),
        ("tspo.yaml", "model.grade_by", "text", "comparison.grade_by"),
        ("tspo.yaml", "model.baselines", "{}", "comparison.baselines"),
        ("eval/haystack.yaml", "model.max_new_tokens", "3", "answering.max_new_tokens"),
        ("ask.yaml", "model.canary", "false", "answering.canary"),
        ("tspo.yaml", "data.num_workers", "8", "decoding.num_workers"),
        ("tspo.yaml", "data.decode_timeout_s", "9", "decoding.timeout_s"),
        ("eval/mlvu.yaml", "data.on_bad_video", "raise", "decoding.on_bad_video"),
        ("eval/mlvu.yaml", "data.selections_system", "uniform", "selections.system"),
        ("msjoe_pretrain.yaml", "data.pass_rates", "a.jsonl", "filter.pass_rates"),
    ],
)
def test_a_part_of_a_recipe_is_refused_with_the_new_key(recipe: str, key: str, value: str, now: str) -> None:
    part, _, name = key.partition(".")
    with pytest.raises(RecipeError, match=rf"{part}\.init_args\.{name}: it is now {now}"):
        check(str(ROOT / "recipes" / recipe), [], [f"--{key}", value])


def test_a_data_module_of_ones_own_is_told_the_new_keys_too(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from datamodules.questions.video_questions import VideoQuestionData\n\n\n"
        "class Mine(VideoQuestionData):\n    def load_questions(self, split):\n        return []\n"
    )
    own = tmp_path / "own.yaml"
    data = "{class_path: mine.Mine, init_args: {pixel_cache_mib: 0}}"
    own.write_text(f"base: {ROOT}/recipes/tspo.yaml\ndata: {data}\n")
    with pytest.raises(RecipeError, match=r"data\.init_args\.pixel_cache_mib: it is now decoding\.pixel_cache_mib"):
        check(str(own), [], [], folders=[tmp_path])


def test_a_shipped_recipe_says_nothing(caplog) -> None:
    moved._notice.cache_clear()
    with caplog.at_level(logging.WARNING):
        merge([str(ROOT / "recipes/msjoe.yaml"), str(ROOT / "recipes/overlays/unet.yaml")], [])
    assert caplog.messages == []


def test_the_command_line_may_name_an_old_class(caplog) -> None:
    words = ["--model.sampler.class_path", "modules.samplers.msjoe.UNetSampler"]
    merged = merge([str(ROOT / "recipes/tspo.yaml")], words)
    assert merged.model.init_args.sampler.class_path == "modules.methods.msjoe.unet.UNetSampler"


def test_the_settings_of_query_writing_are_refused_with_their_new_key(tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text(f"base: {ROOT}/recipes/msjoe.yaml\nmodel: {{init_args: {{query_writing: {{template: a.txt}}}}}}\n")
    for files, words in (
        ([str(own)], []),
        ([str(ROOT / "recipes/msjoe.yaml")], ["--model.query_writing.max_queries", "3"]),
    ):
        with pytest.raises(RecipeError, match=r"query_writing is query_writer now.*PreviewQueries, init_args"):
            merge(files, words)


def test_states_of_callbacks_in_an_old_checkpoint_find_their_callbacks(tmp_path: Path) -> None:
    """A checkpoint keeps them under the names of their classes, without modules: keys as commit 79123cb wrote them."""
    curriculum, curve = FrameCurriculum(num_frames=[2, 4], patience=3), LearningCurve(run_dir=str(tmp_path))
    trainer = L.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, callbacks=[curriculum, curve])
    states = {
        "FrameCurriculum": {"stage": 1, "best": 0.25, "rewards": [0.5]},
        "LearningCurve": {"points": [(1, "reward/accuracy", 0.5)]},
    }
    call._call_callbacks_load_state_dict(trainer, {"callbacks": states})
    assert (curriculum.stage, curriculum.best, curriculum.rewards) == (1, 0.25, [0.5])
    assert curve.points == [(1, "reward/accuracy", 0.5)]


@pytest.mark.long
def test_a_run_of_a_recorded_recipe_goes_on(tmp_path: Path) -> None:
    words = [sys.executable, "-P", "-m", "recipes", "run", RECORDED, "--trainer.accelerator", "cpu"]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    for more in ([], ["--resume", "outputs/old", "--trainer.max_steps", "4", "--allow-changes"]):
        done = subprocess.run([*words, *more], cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        assert done.stderr.count("modules.samplers.tspo.TSPOSampler is modules.methods.tspo.agent.TSPOSampler now") == 1
    steps = {line.partition(",")[0] for line in (tmp_path / "outputs/old/curve.csv").read_text().splitlines()[1:]}
    assert {"2", "4"} <= steps
    assert "modules.samplers" not in (tmp_path / "outputs/old/recipe.yaml").read_text()
