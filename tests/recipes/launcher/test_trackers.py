"""Other trackers than MLflow, one overlay each: nothing of MLflow's is left, and a missing package is named."""

from __future__ import annotations

import csv
import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml
from recipe_commands import start

from recipes.launcher import missing_packages
from recipes.launcher.check import check
from recipes.launcher.guard import ROOT
from recipes.launcher.merge import merge, resolve
from recipes.launcher.mistakes import RecipeError
from recipes.launcher.recipe_files import own_recipes
from recipes.launcher.run_description import description, method_of, world_of

TSPO, SMOKE = str(ROOT / "recipes/tspo.yaml"), str(ROOT / "recipes/overlays/smoke.yaml")
PACKAGES = {"wandb": "wandb", "tensorboard": "tensorboard", "csv": None}


def overlay(name: str) -> str:
    return str(ROOT / f"recipes/overlays/{name}.yaml")


@pytest.mark.parametrize("name", PACKAGES)
def test_an_overlay_replaces_mlflow_wholly(name: str) -> None:
    logger = resolve(merge([TSPO, overlay(name)], ["--run_dir", "here"]), TSPO)["trainer"]["logger"]
    alone = yaml.safe_load(Path(overlay(name)).read_text())["trainer"]["logger"]
    assert logger["class_path"] == alone["class_path"]
    assert logger["init_args"].keys() == alone["init_args"].keys()
    assert "here" in logger["init_args"].values()
    if name == "wandb":
        assert logger["init_args"]["offline"] is True


def test_several_trackers_are_a_list_that_replaces_the_one(tmp_path: Path) -> None:
    csv_node = yaml.safe_load(Path(overlay("csv")).read_text())["trainer"]["logger"]
    (tmp_path / "two.yaml").write_text(yaml.safe_dump({"trainer": {"logger": [csv_node, csv_node]}}))
    merged = merge([TSPO, str(tmp_path / "two.yaml")], ["--run_dir", "here"])
    expected = {**csv_node, "init_args": {**csv_node["init_args"], "save_dir": "here"}}
    assert resolve(merged, TSPO)["trainer"]["logger"] == [expected, expected]


@pytest.mark.parametrize(
    ("words", "package"),
    [
        (["--trainer.logger", "lightning.pytorch.loggers.WandbLogger"], "wandb"),
        (
            ["--trainer.logger", "[lightning.pytorch.loggers.CSVLogger, lightning.pytorch.loggers.CometLogger]"],
            "comet-ml",
        ),
        ([], "mlflow"),
    ],
)
def test_a_missing_package_is_named_in_one_sentence(
    words: list[str], package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(missing_packages, "find_spec", lambda name: None)
    recipe = {"trainer": {"logger": resolve(merge([TSPO], []), TSPO)["trainer"]["logger"]}}
    if words:
        recipe = {"trainer": {"logger": yaml.safe_load(words[1])}}
    (said,) = missing_packages.missing_packages(recipe)
    assert said.endswith(f" needs the package {package}, which is not installed: pip install {package}")


@pytest.mark.parametrize("name", ["wandb", "tensorboard"])
def test_check_refuses_a_tracker_that_is_not_installed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(missing_packages, "find_spec", lambda name: None)
    with pytest.raises(RecipeError) as error:
        check(TSPO, [overlay(name)], [])
    (said,) = error.value.mistakes
    assert said.startswith("trainer.logger: Run")
    assert said.endswith(f"needs the package {name}, which is not installed: pip install {name}")
    check(TSPO, [overlay(name)], [], files=False)  # what an estimate needs nothing of
    check(TSPO, [overlay("csv")], [])


def run(cwd: Path, *words: str) -> tuple[int, str]:
    process = start(cwd, "run", *words)
    output, _ = process.communicate(timeout=300)
    return process.returncode, output


@pytest.mark.long
@pytest.mark.parametrize("name", PACKAGES)
def test_a_run_is_tracked_there_and_goes_on_there(name: str, tmp_path: Path) -> None:
    words = [
        *(TSPO, "--overlay", SMOKE, "--overlay", overlay(name), "--run_dir", "outputs/run", "--stage", "fit"),
        *("--data.encoder.model", f"local-dir:{ROOT}/recipes/haystack/weights/clip"),
        *("--model.mllm.path", f"{ROOT}/recipes/haystack/weights/vlm", "--data.num_test_videos", "1"),
        *("--trainer.callbacks.rollout_table.every_n_steps", "1"),
    ]
    code, output = run(tmp_path, *words)
    if (package := PACKAGES[name]) is not None and find_spec(package) is None:
        assert code == 1
        assert f"needs the package {package}, which is not installed: pip install {package}\n" in output
        assert not (tmp_path / "outputs").exists()
        return
    assert code == 0, output
    code, again = run(tmp_path, "--resume", "outputs/run", "--stage", "test")
    assert code == 0, again
    for said in (output, again):
        assert "WARNING" not in said
        assert "Traceback" not in said
        assert "mlflow" not in said
    assert not list(tmp_path.rglob("*mlflow*"))
    {"wandb": _in_wandb, "tensorboard": _in_tensorboard, "csv": _in_csv}[name](tmp_path / "outputs/run", output)


def _in_csv(run_dir: Path, output: str) -> None:
    assert "logged      CSVLogger takes no pictures, tables and other files: they are in outputs/run\n" in output
    assert "look        outputs/run/csv/version_0\n" in output
    with (run_dir / "curve.csv").open() as file:
        curve = [row for row in csv.DictReader(file) if row["metric"] in ("reward/total", "val/accuracy")]
    with (run_dir / "csv/version_0/metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert curve
    for point in curve:
        found = [float(row[point["metric"]]) for row in rows if row["step"] == point["step"] and row[point["metric"]]]
        assert found == [pytest.approx(float(point["value"]), abs=1e-6)]
    settings = yaml.safe_load((run_dir / "csv/version_0/hparams.yaml").read_text())
    assert settings["model.grpo.num_generations"] == 4
    with (run_dir / "csv/version_1/metrics.csv").open() as file:
        (tested,) = csv.DictReader(file)
    assert (tested["step"], "test/accuracy_after" in tested) == ("2", True)


def _in_tensorboard(run_dir: Path, output: str) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    assert "RunTensorBoardLogger takes no tables and files other than pictures: they are in outputs/run\n" in output
    logged = EventAccumulator(str(run_dir / "tensorboard"))
    logged.Reload()
    assert [event.step for event in logged.Scalars("reward/total")] == [1, 2]
    assert [event.step for event in logged.Scalars("test/accuracy_after")] == [2]
    assert {"timeline", "learning_curve"} <= set(logged.Tags()["images"])
    assert b"| method | tspo |" in logged.Tensors("run/text_summary")[0].tensor_proto.string_val[0]


def _in_wandb(run_dir: Path, output: str) -> None:
    assert "look        wandb sync outputs/run/wandb/offline-run-*\n" in output
    run_id = (run_dir / "wandb_run_id").read_text()
    parts = sorted((run_dir / "wandb").glob(f"offline-run-*-{run_id}"))
    assert len(parts) == 2
    assert (parts[0] / "files/recipe.yaml").read_text() == (run_dir / "recipe.yaml").read_text()
    (table,) = parts[0].rglob("rollouts_*.table.json")
    assert len(json.loads(table.read_text())["data"]) == len((run_dir / "rollouts.jsonl").read_text().splitlines())
    assert list(parts[0].rglob("timeline_*.png"))
    assert (parts[1] / "files/scores.json").is_file()


# ---- what a run is called in a table of runs ----


def described(name: str, *words: str) -> tuple[str, str]:
    recipe = resolve(merge([str(ROOT / "recipes" / name)], list(words)), name)
    return method_of(recipe), world_of(recipe)


@pytest.mark.parametrize(
    ("recipe", "expected"),
    [
        ("tspo.yaml", ("tspo", "haystack")),
        ("msjoe.yaml", ("msjoe", "haystack")),
        ("refocus.yaml", ("refocus", "haystack")),
        ("videostreaming.yaml", ("videostreaming", "haystack")),
        ("haystack/answerer.yaml", ("AnswerPretraining", "haystack")),
        ("paper/tspo_qwen2_5_vl_7b.yaml", ("tspo", "TSPO10K")),
        ("mine/train.yaml", ("tspo", "mine")),
        ("eval/mlvu.yaml", ("uniform, sampler", "MLVU")),
    ],
)
def test_method_and_world_of_a_recipe(recipe: str, expected: tuple[str, str]) -> None:
    assert described(recipe) == expected


def test_a_class_of_ones_own_and_a_rule_without_training_are_called_by_their_own_names() -> None:
    assert described("tspo.yaml", "--model.sampler", "mine.Sampler")[0] == "Sampler"
    assert described("tspo.yaml", "--model.sampler", "modules.methods.training_free.aks.AKS")[0] == "AKS"


def test_every_recipe_with_a_model_has_a_method_and_a_world() -> None:
    files = [path for path in own_recipes() if "overlays" not in path.parts]
    named = {"base/captions.yaml": ["--vars.captioner", "folder"]}  # what a base leaves to the command line
    words = [next((w for base, w in named.items() if base in path.read_text()), []) for path in files]
    recipes = [resolve(merge([str(path)], own), path.name) for path, own in zip(files, words, strict=True)]
    with_model = [recipe for recipe in recipes if "model" in recipe]
    assert len(with_model) > 15
    assert all(method_of(recipe) and world_of(recipe) for recipe in with_model)


def test_settings_are_those_that_tell_runs_apart() -> None:
    recipe: dict[str, Any] = {
        "run_dir": "outputs/tspo/1",
        "stage": ["fit"],
        "vars": {"rate": 0.1},
        "model": {
            "class_path": "modules.rl.evolution.EvolutionModule",
            "init_args": {
                "sampler": {"class_path": "modules.methods.tspo.agent.TSPOSampler", "init_args": {"dim": 64}},
                "frames": [1, 2],
                "prior": None,
            },
        },
        "data": {"class_path": "datamodules.haystack.datamodule.HaystackData"},
        "trainer": {
            "logger": {"class_path": "a.B", "init_args": {"uri": "x"}},
            "callbacks": [
                {"class_path": "callbacks.timeline.TimelineImages", "init_args": {"run_dir": "outputs/tspo/1"}}
            ],
            "default_root_dir": "outputs/tspo/10",
        },
    }
    assert description(yaml.safe_dump(recipe)).settings == {
        "model.class_path": "modules.rl.evolution.EvolutionModule",
        "model.sampler.class_path": "modules.methods.tspo.agent.TSPOSampler",
        "model.sampler.dim": 64,
        "model.frames": [1, 2],
        "data.class_path": "datamodules.haystack.datamodule.HaystackData",
        "trainer.callbacks.timeline.class_path": "callbacks.timeline.TimelineImages",
        "trainer.default_root_dir": "outputs/tspo/10",
    }
