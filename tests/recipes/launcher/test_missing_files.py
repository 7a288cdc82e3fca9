"""Data and weights that a recipe names and that are not there, and what the command line says of lists."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from recipes.launcher.check import check
from recipes.launcher.cli import main
from recipes.launcher.guard import ROOT
from recipes.launcher.mistakes import RecipeError

MLVU = str(ROOT / "recipes/eval/mlvu.yaml")


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def mistakes(recipe: str, *overrides: str) -> list[str]:
    try:
        check(recipe, [], list(overrides))
    except RecipeError as error:
        return error.mistakes
    return []


def test_annotations_and_videos_have_to_be_there(tmp_path: Path) -> None:
    assert mistakes(MLVU) == [
        f"data.init_args.test.init_args.{key}: no such file or folder: 'data/MLVU/{name}' below {tmp_path}; "
        f"--{key} names yours"
        for key, name in (("annotations", "json"), ("videos", "video"))
    ]
    for name in ("json", "video"):
        (tmp_path / "data/MLVU" / name).mkdir(parents=True)
    assert mistakes(MLVU) == []


@pytest.mark.parametrize(
    ("recipe", "overrides", "key"),
    [
        ("recipes/msjoe_pretrain.yaml", ["--data.filter.pass_rates", "gone.jsonl"], "data.init_args.filter.pass_rates"),
        ("recipes/tspo.yaml", ["--data.filter.train_ids", "gone.jsonl"], "data.init_args.filter.train_ids"),
        ("recipes/ask.yaml", ["--checkpoint", "null", "--question", "?", "--video", "gone"], "data.init_args.video"),
        (
            "recipes/msjoe.yaml",
            ["--model.query_writer.template", "gone.txt"],
            "model.init_args.query_writer.init_args.template",
        ),
        ("recipes/data/needles.yaml", ["--job.videos", "gone"], "job.init_args.videos"),
        ("recipes/data/long_video_qa.yaml", ["--job.rates", "gone.jsonl"], "job.init_args.rates"),
        ("recipes/data/save_tspo_folder.yaml", ["--job.checkpoint", "gone.ckpt"], "job.init_args.checkpoint"),
        ("recipes/eval/videomme.yaml", ["--data.test.subtitles", "gone"], "data.init_args.test.init_args.subtitles"),
        (
            "recipes/tspo.yaml",
            [
                "--model.comparison.baselines",
                "{chosen: {class_path: modules.methods.training_free.precomputed.Precomputed, init_args: {path: no}}}",
            ],
            "model.init_args.comparison.baselines.chosen.init_args.path",
        ),
    ],
)
def test_what_else_is_read(recipe: str, overrides: list[str], key: str) -> None:
    found = [
        m
        for m in mistakes(str(ROOT / recipe), *overrides)
        if re.match(rf"{re.escape(key)}: no such file( or folder)?: ", m)
    ]
    assert len(found) == 1, mistakes(str(ROOT / recipe), *overrides)


def test_a_table_of_ones_own_that_is_not_there_is_told_once(tmp_path: Path) -> None:
    train, evaluate = (str(ROOT / f"recipes/mine/{name}.yaml") for name in ("train", "eval"))
    said = f"no such file or folder: 'my.csv' below {tmp_path}; --annotations names yours"
    assert mistakes(train, "--annotations", "my.csv") == [f"data.init_args.train.init_args.annotations: {said}"]
    assert sum(said in mistake for mistake in mistakes(evaluate, "--annotations", "my.csv")) == 1
    (tmp_path / "my.csv").touch()
    assert mistakes(train, "--annotations", "my.csv") == []
    (found,) = mistakes(train, "--annotations", "my.csv", "--videos", "clips")
    assert found.endswith(f"'clips' below {tmp_path}; --videos names yours")
    found = mistakes(train, "--data.train.annotations", "a.csv", "--data.val.annotations", "b.csv")
    assert [mistake.rpartition("; ")[2] for mistake in found if "csv" in mistake] == [
        *(f"--data.{split}.annotations names yours" for split in ("train", "val")),
        "--annotations names yours",
    ]


@pytest.mark.parametrize("name", ["a\0b", "x" * 5000])
def test_a_name_that_no_file_can_have(name: str) -> None:
    words = ["--checkpoint", "null", "--data.question", "?", "--data.video", name]
    assert "no such file or folder" in mistakes(str(ROOT / "recipes/ask.yaml"), *words)[0]


def test_a_recipe_can_be_looked_at_where_its_data_is_not() -> None:
    check(MLVU, [], [], files=False)
    main(["submit", MLVU, "--dry-run"])
    for words, message in (([], "no such file or folder"), (["--sbatch=--dependency=afterok:1"], "there is no sbatch")):
        with pytest.raises(SystemExit, match=message):
            main(["submit", MLVU, *words])


def test_an_estimate_needs_no_data(capsys) -> None:
    main(["check", str(ROOT / "recipes/paper/tspo_qwen2_5_vl_7b.yaml"), "--memory"])
    printed = capsys.readouterr().out
    assert "memory a GPU" in printed
    assert "no such file or folder" in printed  # told all the same


LIST = "[{class_path: callbacks.learning_curve.LearningCurve, init_args: {run_dir: here}}]"


def test_a_value_in_a_list_is_named_by_its_number(tmp_path: Path) -> None:
    recipe = tmp_path / "own.yaml"
    recipe.write_text(f"base: {ROOT}/recipes/tspo.yaml\ntrainer: {{callbacks: {LIST}}}\nstage: [fit, test]\n")
    merged = check(str(recipe), [], ["--trainer.callbacks.0.run_dir", "there", "--stage.1", "validate"])
    assert merged.trainer.callbacks[0].init_args.run_dir == "there"
    assert merged.stage == ["fit", "validate"]


@pytest.mark.parametrize("number", ["2", "-1", "x", "1.5"])
def test_a_number_that_a_list_does_not_have(number: str, tmp_path: Path) -> None:
    recipe = tmp_path / "own.yaml"
    recipe.write_text(f"base: {ROOT}/recipes/tspo.yaml\nstage: [fit, test]\n")
    for command in ("check", "run"):
        with pytest.raises(SystemExit) as refused:
            main([command, str(recipe), f"--stage.{number}", "validate"])
        if number != "1.5":
            assert f"stage is a list and has no '{number}'; its values have the numbers 0 to 1" in str(refused.value)
        assert str(refused.value).startswith("error: ")


def test_an_example_of_two_data_sets_by_dotted_keys(tmp_path: Path) -> None:
    """`--data.SPLIT.videos X` reaches through the class that is there, in check as in run."""
    (tmp_path / "json").mkdir()
    (tmp_path / "videos").mkdir()
    words = ["--data.test.annotations", "json", "--data.test.videos", "videos"]
    merged = check(MLVU, [], words)
    assert merged.data.init_args.test.init_args.videos == "videos"


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (
            {"rewards": ["modules.rewards.accuracy.Accuracy", "own.brevity.Brevity"], "reward_weights": [0.5, 0.25]},
            "{accuracy: {reward: modules.rewards.accuracy.Accuracy, weight: 0.5}, "
            "brevity: {reward: own.brevity.Brevity, weight: 0.25}}",
        ),
        (
            {"rewards": [{"class_path": "own.Short", "init_args": {"most": 3}}, {"class_path": "own.Long"}]},
            "{own: {reward: {class_path: own.Short, init_args: {most: 3}}, weight: 1.0}, "
            "own_1: {reward: {class_path: own.Long}, weight: 1.0}}",
        ),
        (
            {"rewards": [{"reward": {"class_path": "modules.rewards.accuracy.Accuracy"}}]},
            "{accuracy: {reward: {class_path: modules.rewards.accuracy.Accuracy}, weight: 1.0}}",
        ),
        ({"rewards": [3]}, "{reward_0: {reward: 3, weight: 1.0}}"),
    ],
)
def test_a_list_of_rewards_is_refused_with_what_to_write(tmp_path: Path, arguments: dict, named: str) -> None:
    recipe = tmp_path / "own.yaml"
    recipe.write_text(json.dumps({"model": {"init_args": arguments}}))
    with pytest.raises(RecipeError) as refused:
        check(str(ROOT / "recipes/tspo.yaml"), [str(recipe)], [])
    sentence = (
        "model.init_args.rewards: a list gives its rewards no names, and a weight stands beside its reward; write "
        f"rewards: {named}, and NAME: null for a reward of the recipe's own that is to be left out"
    )
    assert refused.value.mistakes == [sentence]
    if len(arguments) == 1:
        found = mistakes(str(ROOT / "recipes/tspo.yaml"), "--model.rewards", json.dumps(arguments["rewards"]))
        assert found[0].endswith(sentence)


@pytest.mark.parametrize(
    ("key", "value", "found"),
    [
        (
            "model.rewards.mine",
            "modules.rewards.margin.Margin",
            [
                "model.init_args.rewards.mine: modules.rewards.margin.Margin belongs under 'reward' here; write "
                "mine: {reward: modules.rewards.margin.Margin}; 'weight' and 'mllm_weight' may stand beside it"
            ],
        ),
        (
            "model.rewards.mine",
            '{"class_path": "modules.rewards.margin.Margn"}',
            [
                "model.init_args.rewards.mine: modules.rewards.margin.Margn belongs under 'reward' here; write "
                "mine: {reward: {class_path: modules.rewards.margin.Margn}}; 'weight' and 'mllm_weight' may stand "
                "beside it",
                "model.init_args.rewards.mine.reward.class_path: modules.rewards.margin has no 'Margn'; did you mean "
                "'Margin'?",
            ],
        ),
        (
            "data.selections",
            "gone.jsonl",
            [
                "data.init_args.selections: gone.jsonl belongs under 'path' here; write selections: "
                "{path: gone.jsonl}; 'system' may stand beside it"
            ],
        ),
    ],
)
def test_a_value_in_the_place_of_its_settings_is_refused_with_what_to_write(
    key: str, value: str, found: list[str]
) -> None:
    said = mistakes(str(ROOT / "recipes/tspo.yaml"), f"--{key}", value)
    assert [line for line in said if "gone.jsonl' below" not in line] == found
