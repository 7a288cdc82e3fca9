"""Recipes really run, in real subprocesses: two steps each, a kill in the middle, two processes, a question."""

from __future__ import annotations

import itertools
import json
import os
import random
import shlex
import shutil
import signal
import sqlite3
import time
from pathlib import Path

import pytest
from recipe_commands import start

from modules.selection.selection_files import read_selections
from recipes.launcher.guard import ROOT

pytestmark = pytest.mark.slow
SMOKE = ["--overlay", str(ROOT / "recipes/overlays/smoke.yaml")]
WEIGHTS = [
    "--data.encoder.model",
    f"local-dir:{ROOT}/recipes/haystack/weights/clip",
    "--model.mllm.path",
    f"{ROOT}/recipes/haystack/weights/vlm",
]


def run(cwd: Path, *words: str, timeout: int = 300) -> str:
    process = start(cwd, *words)
    output, _ = process.communicate(timeout=timeout)
    assert process.returncode == 0, output[-4000:]
    return output


def summary(run_dir: Path) -> list[dict]:
    return json.loads((run_dir / "test_summary.json").read_text())


@pytest.fixture(scope="module")
def workplace(tmp_path_factory) -> Path:
    """A folder with the short videos written and encoded and one finished run."""
    cwd = tmp_path_factory.mktemp("work")
    output = run(cwd, "run", str(ROOT / "recipes/tspo.yaml"), *SMOKE, *WEIGHTS)
    (cwd / "output.txt").write_text(output)
    return cwd


def test_tspo_end_to_end(workplace: Path) -> None:
    output = (workplace / "output.txt").read_text()
    for word in (
        "uniform",
        "CLIP top-k",
        "before",
        "after",
        "oracle",
        "needle",
        "count",
        "checkpoint",
        "mlflow ui",
        "next",
    ):
        assert word in output, word
    (run_dir,) = (workplace / "outputs/tspo").iterdir()
    first = output.splitlines()
    assert [line.split()[0] for line in first[:7]] == [
        "recipe",
        "run",
        "stages",
        "data",
        "model",
        "device",
        "updates",
    ]
    assert first[1].endswith(str(run_dir.relative_to(workplace)))
    for line in (
        "device      cpu, 1 process",
        "trained     2 updates in ",
        "validated   after update 2: val/accuracy ",
    ):
        assert line in output
    for noise in ("\r", "Epoch", "Seed set", "WARNING", "Warning", "\n\n"):
        assert noise not in output, noise
    assert list((run_dir / "images").glob("*.png"))
    written = [path for suffix in ("json", "jsonl") for path in run_dir.rglob(f"*.{suffix}")]
    assert len(written) >= 7
    for path in written:
        for text in path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]:
            json.loads(text, parse_constant=lambda word, path=path: pytest.fail(f"{path} has {word}"))
    assert (run_dir / "learning_curve.png").is_file()
    assert (run_dir / "checkpoints/last.ckpt").stat().st_size < 500_000
    assert "evolve: sampler" in (run_dir / "recipe.yaml").read_text()
    assert "torch" in json.loads((run_dir / "environment.json").read_text())
    with sqlite3.connect(workplace / "outputs/mlflow.db") as db:
        names = {name for (name,) in db.execute("select distinct key from metrics")}
        tags = dict(db.execute("select key, value from tags"))
        params = dict(db.execute("select key, value from params"))
        steps = {
            (step, value) for step, value in db.execute("select step, value from metrics where key = 'reward/total'")
        }
        kinds = db.execute("select value from experiment_tags where key = 'mlflow.experimentKind'").fetchall()
    assert {
        "reward/total",
        "reward/probability",
        "reward/accuracy",
        "reward/zero_std_frac",
        "policy/entropy_nats",
        "policy/effective_frames",
        "time/sample_s",
        "time/answer_s",
        "time/update_s",
        "test/accuracy_after",
    } <= names
    assert {"reward_weight/probability", "reward_weight/accuracy"} <= names
    assert "weights of the rewards: probability 1, accuracy logged only" in output
    assert (tags["method"], tags["world"], tags["run_dir"]) == ("tspo", "haystack", str(run_dir.relative_to(workplace)))
    assert {"commit", "command", "kairos.torch"} <= tags.keys()
    assert (params["model.grpo.num_generations"], params["trainer.max_steps"]) == ("4", "2")
    assert not any(str(run_dir.relative_to(workplace)) in value for value in params.values())
    curve = [line.split(",") for line in (run_dir / "curve.csv").read_text().splitlines()]
    assert steps == {(int(step), float(value)) for step, name, value in curve[1:] if name == "reward/total"}
    assert kinds == [("custom_model_development",)]
    assert "look        http://127.0.0.1:5000/#/experiments/1/runs?workflowType=machine_learning\n" in output
    assert list((workplace / "outputs/mlflow_artifacts").rglob("recipe.yaml"))
    assert list((workplace / "outputs/mlflow_artifacts").rglob("step_*.png"))


@pytest.mark.long
def test_official_recipe_takes_two_steps(workplace: Path) -> None:
    run(workplace, "run", str(ROOT / "recipes/tspo_official.yaml"), *SMOKE, *WEIGHTS)


def test_tspo_evolves_jointly_by_one_key(workplace: Path) -> None:
    run(
        workplace,
        "run",
        str(ROOT / "recipes/tspo.yaml"),
        *SMOKE,
        *WEIGHTS,
        "--model.evolve",
        "joint",
        "--run_dir",
        "outputs/tspo_joint",
    )
    import torch

    saved = torch.load(workplace / "outputs/tspo_joint/checkpoints/last.ckpt", weights_only=True)["state_dict"]
    assert any("language_model" in name for name in saved)
    assert not any("vision_tower" in name for name in saved)


@pytest.mark.long
def test_msjoe_as_documented_in_both_stages_and_consolidated(workplace: Path) -> None:
    """The commands of the recipes' own comments, from a folder that is not the repository; stage 1 ran as a job."""
    smoke = ["--overlay", "recipes/overlays/smoke.yaml"]
    first = run(workplace, "run", "recipes/msjoe_pretrain.yaml", *smoke, "--run_dir", "outputs/slurm/msjoe_pretrain-17")
    for word in ("question top-k", "question only", "recipes/msjoe.yaml --model.init_from"):
        assert word in first, word
    chained = ["run", "recipes/msjoe.yaml", *smoke, "--model.init_from", "last:msjoe_pretrain"]
    second = run(workplace, *chained, "--model.joint.learning_rate", "1e-5")
    for word in ("start", "initial queries", "initial mllm", "lightning consolidate"):
        assert word in second, word
    (run_dir,) = (workplace / "outputs/msjoe").iterdir()
    written = (run_dir / "recipe.yaml").read_text()
    assert "init_from: outputs/slurm/msjoe_pretrain-17/checkpoints/last.ckpt" in written
    assert "learning_rate: 1.0e-05" in written
    with sqlite3.connect(workplace / "outputs/mlflow.db") as db:
        names = {name for (name,) in db.execute("select distinct key from metrics")}
    assert {
        "queries/number",
        "queries/unparsed_frac",
        "reward/format",
        "reward/query_information",
        "tokens/length",
        "tokens/grad_norm",
        "time/write_s",
        "test/accuracy_start",
    } <= names
    said = run(workplace, "consolidate", "last:msjoe", "build/msjoe")
    assert "trained parameters" in said
    run(
        workplace,
        "run",
        "recipes/msjoe.yaml",
        *smoke,
        "--model.init_from",
        "build/msjoe/sampler.safetensors",
        "--model.mllm.path",
        "build/msjoe/mllm",
        "--stage",
        "test",
    )


@pytest.mark.long
def test_refocus_with_a_curriculum_and_every_way_to_take_frames(workplace: Path) -> None:
    curriculum = ["--overlay", str(ROOT / "recipes/overlays/curriculum.yaml")]
    run(workplace, "run", str(ROOT / "recipes/refocus.yaml"), *curriculum, *SMOKE, *WEIGHTS)
    (run_dir,) = (workplace / "outputs/refocus").iterdir()
    with sqlite3.connect(workplace / "outputs/mlflow.db") as db:
        run_id = (run_dir / "mlflow_run_id").read_text().strip()
        asked = "select key, value from metrics where run_uuid = ? order by step"
        logged = list(db.execute(asked, (run_id,)))
    assert [value for key, value in logged if key == "policy/num_frames"] == [4, 8]
    assert {"reward/margin", "reward/accuracy", "sampler_scale/grad_norm"} <= {key for key, _ in logged}

    small = [
        "--data.world.duration_s",
        "100",
        "--data.world.event_duration_s",
        "[2.0, 2.5]",
        "--data.num_test_videos",
        "2",
    ]
    ways_dir = ["--run_dir", "outputs/ways"]
    said = run(workplace, "run", str(ROOT / "recipes/eval/haystack.yaml"), *small, *WEIGHTS, *ways_dir)
    assert "best of 8" in said
    ways = {
        name: read_selections(workplace / "outputs/ways/selections.parquet", name)
        for name in ("sampler", "sampled", "best of 8", "official")
    }
    assert all(len(row.frame_ids) == 8 for rows in ways.values() for row in rows)
    assert ways["sampled"] != ways["sampler"] != ways["best of 8"]
    # a video of 100 candidates gets evenly spaced frames from the official rule
    assert [row.frame_ids for row in ways["official"]] != [row.frame_ids for row in ways["sampled"]]
    assert len({tuple(b - a for a, b in itertools.pairwise(row.frame_ids)) for row in ways["official"]}) == 1


@pytest.mark.long
def test_refocus_on_mamba_evolves_and_is_evaluated(workplace: Path) -> None:
    mamba = "modules.methods.refocus.backbones.mamba2.Mamba2Backbone"
    run(
        workplace,
        "run",
        str(ROOT / "recipes/refocus.yaml"),
        *SMOKE,
        *WEIGHTS,
        "--model.evolve",
        "joint",
        "--model.sampler.backbone.class_path",
        mamba,
        "--run_dir",
        "outputs/refocus_mamba",
    )
    run(
        workplace,
        "run",
        str(ROOT / "recipes/refocus.yaml"),
        *SMOKE,
        *WEIGHTS,
        "--model.sampler.backbone.class_path",
        mamba,
        "--run_dir",
        "outputs/refocus_mamba_alone",
    )
    said = run(
        workplace,
        "run",
        str(ROOT / "recipes/eval/haystack.yaml"),
        *WEIGHTS,
        "--data.num_test_videos",
        "2",
        "--data.world.duration_s",
        "100",
        "--data.world.event_duration_s",
        "[2.0, 2.5]",
        "--model.samplers.sampler.backbone.class_path",
        mamba,
        "--run_dir",
        "outputs/mamba_evaluated",
        "--checkpoint",
        "outputs/refocus_mamba_alone/checkpoints/last.ckpt",
    )
    assert "best of 8" in said


def test_ask(workplace: Path) -> None:
    video = next((workplace / "data/haystack/videos").rglob("test-00000.mp4"))
    words = ["--video", str(video), "--question", "What colour is the last shape?"]
    with_options = run(
        workplace, "run", str(ROOT / "recipes/ask.yaml"), *words, "--options", "red, green, blue", *WEIGHTS
    )
    assert "answer" in with_options
    assert "looked at" in with_options
    assert "of 100.0 s" in with_options
    assert list((workplace / "outputs/ask").rglob("contact_sheet.png"))
    free = run(workplace, "run", str(ROOT / "recipes/ask.yaml"), *words, *WEIGHTS)
    assert "options" not in free


def test_the_printed_question_has_its_known_answer_among_its_options(workplace: Path) -> None:
    lines = {line[:11].strip(): line[12:] for line in (workplace / "output.txt").read_text().splitlines()}
    words = shlex.split(lines["next"])
    options, answer = (words[words.index(key) + 1] for key in ("--options", "--answer"))
    assert answer in options.split(", ")
    assert f"{answer} " in lines["options"]
    said = run(workplace, *words[1:], *WEIGHTS)
    assert f"question    {lines['example']}" in said
    assert f"right is    {answer}" in said
    assert "chosen, right" in lines["options"]
    assert "chosen, right" in said


@pytest.mark.parametrize("content", ["pickle", pytest.param("nonsense", marks=pytest.mark.long)])
def test_foreign_checkpoints_are_refused(workplace: Path, content: str) -> None:
    import pickle

    class Evil:
        def __reduce__(self) -> tuple:
            return (os.system, (f"touch {workplace}/pwned",))

    bad = workplace / "bad.ckpt"
    bad.write_bytes(pickle.dumps(Evil()) if content == "pickle" else b"nonsense")
    recipe = [str(ROOT / "recipes/tspo.yaml"), *SMOKE, *WEIGHTS]
    process = start(workplace, "run", *recipe, "--stage", "test", "--checkpoint", str(bad))
    output, _ = process.communicate(timeout=200)
    assert process.returncode == 1
    assert "is refused" in output, output[-2000:]
    assert "Traceback" not in output
    assert not (workplace / "pwned").exists()


# long enough that a kill within a second of the first checkpoint meets it at work
LONGER = ["--trainer.max_steps", "40", "--trainer.val_check_interval", "10"]


def callbacks_every_two_steps(tmp_path: Path) -> list[str]:
    """An overlay that saves every second step."""
    path = tmp_path / "save_often.yaml"
    path.write_text("trainer: {callbacks: {model_checkpoint: {init_args: {every_n_train_steps: 2}}}}\n")
    return ["--overlay", str(path)]


@pytest.mark.long
def test_killed_and_resumed_equals_uninterrupted(workplace: Path, tmp_path: Path) -> None:
    recipe = [str(ROOT / "recipes/tspo.yaml"), *SMOKE, *callbacks_every_two_steps(tmp_path), *WEIGHTS, *LONGER]
    run(workplace, "run", *recipe, "--run_dir", "outputs/tspo/whole")
    killed = workplace / "outputs/tspo/killed"
    process = start(workplace, "run", *recipe, "--run_dir", "outputs/tspo/killed")
    # any moment after the first checkpoint will do
    deadline = time.time() + 200
    while not (killed / "checkpoints/last.ckpt").is_file():
        assert process.poll() is None, process.communicate()[0][-3000:]
        assert time.time() < deadline
        time.sleep(0.02)
    time.sleep(random.uniform(0.0, 1.0))
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert not (killed / "test_summary.json").is_file()
    output = run(workplace, "run", *recipe, "--resume", "outputs/tspo/killed")
    assert summary(killed) == summary(workplace / "outputs/tspo/whole"), output[-2000:]
    curves = [(workplace / f"outputs/tspo/{name}/curve.csv").read_text() for name in ("killed", "whole")]
    assert curves[0] == curves[1]
    ids = [(workplace / f"outputs/tspo/{name}/mlflow_run_id").read_text() for name in ("killed", "whole")]
    assert ids[0] != ids[1]


def test_a_run_goes_on_by_its_own_recipe_from_another_folder(workplace: Path, tmp_path: Path) -> None:
    begun = min((workplace / "outputs/tspo").glob("2*"))
    moved = workplace / "outputs/longer"
    shutil.copytree(begun, moved, symlinks=True)
    words = ["--trainer.max_steps", "3", "--trainer.val_check_interval", "1", "--stage", "fit"]
    run(tmp_path, "run", "--resume", str(moved), *words, "--allow-changes")
    assert list(tmp_path.iterdir()) == []  # its videos, features and MLflow are where they were
    note = (moved / "recipe.yaml").read_text().splitlines()[:3]
    assert note[0] == "# In effect after update 2; before, it was recipe.1.yaml. What has changed:"
    assert set(note[1:]) == {"#   trainer.max_steps: 2 -> 3", "#   trainer.val_check_interval: 2 -> 1"}
    assert (moved / "recipe.1.yaml").read_text() == (begun / "recipe.yaml").read_text()
    assert "\n3,reward/total," in (moved / "curve.csv").read_text()


@pytest.mark.long
def test_two_cpu_processes_equal_one(workplace: Path) -> None:
    """The first update's gradients, and what the third leaves.

    Weights are not compared after several updates: Adam divides an element by its own size, so one near zero turns the
    rounding of a sum into a whole step.
    """
    for updates in ("1", "3"):
        recipe = [
            str(ROOT / "recipes/tspo.yaml"),
            *SMOKE,
            *WEIGHTS,
            "--trainer.max_steps",
            updates,
            "--trainer.val_check_interval",
            updates,
        ]
        run(workplace, "run", *recipe, "--run_dir", f"outputs/tspo/one_{updates}")
        run(
            workplace,
            "run",
            *recipe,
            "--overlay",
            str(ROOT / "recipes/overlays/cpu_ddp.yaml"),
            "--data.batch_size",
            "2",
            "--run_dir",
            f"outputs/tspo/two_{updates}",
        )
    import torch

    first, second = (
        torch.load(workplace / f"outputs/tspo/{name}_1/checkpoints/last.ckpt", weights_only=True)["optimizer_states"][0]
        for name in ("one", "two")
    )
    assert first["state"].keys() == second["state"].keys()
    for index, moments in first["state"].items():
        gradient = moments["exp_avg"]  # a tenth of it, after one update
        torch.testing.assert_close(
            gradient, second["state"][index]["exp_avg"], rtol=1e-3, atol=1e-4 * float(gradient.abs().max()) + 1e-12
        )
    one, two = (
        {(r["name"], r["system"]): r for r in summary(workplace / f"outputs/tspo/{name}_3")} for name in ("one", "two")
    )
    assert one.keys() == two.keys()
    for key, row in one.items():
        assert row["num_questions"] == two[key]["num_questions"]
        assert row["value"] == pytest.approx(two[key]["value"], abs=1e-6, nan_ok=True), key


@pytest.mark.long
def test_a_copied_checkpoint_of_another_sampler_answers_without_being_explained(workplace: Path) -> None:
    unet = ["--overlay", str(ROOT / "recipes/overlays/unet.yaml")]
    run(workplace, "run", str(ROOT / "recipes/tspo.yaml"), *unet, *SMOKE, *WEIGHTS, "--run_dir", "outputs/unet")
    copied = workplace / "unet.ckpt"
    copied.write_bytes((workplace / "outputs/unet/checkpoints/last.ckpt").read_bytes())
    video = next((workplace / "data/haystack/videos").rglob("test-00000.mp4"))
    output = run(
        workplace,
        "run",
        str(ROOT / "recipes/ask.yaml"),
        "--checkpoint",
        str(copied),
        "--video",
        str(video),
        "--question",
        "What colour is the last shape?",
    )
    assert "looked at" in output
    assert "frames decoded, 8 shown" in output


@pytest.mark.long
@pytest.mark.parametrize("part", ["clip", "tower", "answerer", "wide/clip", "wide/tower", "wide/answerer"])
def test_small_stack_recipes_take_two_steps(workplace: Path, part: str) -> None:
    stack, _, stage = part.rpartition("/")
    words = [
        "--model.num_steps",
        "2",
        "--data.batch_size",
        "8",
        "--trainer.val_check_interval",
        "2",
        "--data.num_val_batches",
        "1",
    ]
    # the answerer's plans are played by frames of the pool, which has to show everything there is
    num_videos = "400" if stage == "answerer" else "6"
    words += ["--data.pool.num_videos", num_videos, "--data.val_pool.num_videos", num_videos]
    if stage == "answerer":
        words += ["--model.mllm.path", str(ROOT / "recipes/haystack/weights" / stack / "vlm")]
    run(workplace, "run", str(ROOT / f"recipes/haystack/{part}.yaml"), *words)
    written = workplace / "build/haystack" / stack / ("clip" if stage == "clip" else "vlm")
    assert list(written.glob("*.safetensors"))


@pytest.mark.long
def test_killed_after_the_last_update_resumes_into_the_test(workplace: Path) -> None:
    recipe = [str(ROOT / "recipes/tspo.yaml"), *SMOKE, *WEIGHTS]
    run(workplace, "run", *recipe, "--run_dir", "outputs/tspo/late")
    folder = workplace / "outputs/tspo/late"
    before, curve = summary(folder), (folder / "curve.csv").read_text()
    for name in ("test_summary.json", "curve.csv"):
        (folder / name).unlink()
    run(workplace, "run", *recipe, "--resume", "outputs/tspo/late")
    assert summary(folder) == before
    assert (folder / "curve.csv").read_text() == curve


@pytest.mark.long
def test_a_sweep_chains_its_variants_and_runs_nothing_twice(workplace: Path) -> None:
    stack = {WEIGHTS[n].removeprefix("--"): WEIGHTS[n + 1] for n in range(0, len(WEIGHTS), 2)}
    variant = {"recipe": str(ROOT / "recipes/tspo.yaml"), "overlays": [SMOKE[1]]}
    chained = {**stack, "model.init_from": "{out}/first_s{seed}/checkpoints/last.ckpt"}
    recipe = workplace / "sweep.yaml"
    arguments = {
        "out": "outputs/sweep",
        "seeds": [0],
        "reference": "first",
        "variants": {"first": {**variant, "overrides": stack}, "second": {**variant, "overrides": chained}},
        "shown": {"first": ["first", "after"], "second": ["second", "before"], "floor": ["first", "uniform"]},
    }
    job = {"class_path": "recipes.jobs.sweep.Sweep", "init_args": arguments}
    recipe.write_text(json.dumps({"name": "sweep", "job": job}))
    printed = run(workplace, "run", str(recipe), "--run_dir", "outputs/table")
    assert "running     second, seed 0" in printed
    rows = {r["row"]: r for r in json.loads((workplace / "outputs/table/sweep.json").read_text())}
    # the second begins where the first ended
    assert rows["second"]["accuracy"] == rows["first"]["accuracy"]
    assert rows["second"]["difference"] == 0
    assert rows["floor"]["accuracy"] != rows["first"]["accuracy"]
    assert (rows["floor"]["gap_closed"], rows["first"]["gap_closed"]) == (
        0,
        pytest.approx(
            next(
                r["value"]
                for r in summary(workplace / "outputs/sweep/first_s0")
                if (r["name"], r["system"]) == ("gap closed", "after")
            )
        ),
    )
    kinds = json.loads((workplace / "outputs/table/sweep_kinds.json").read_text())
    assert {k["row"] for k in kinds} == {"first", "second", "floor"}
    assert (workplace / "outputs/table/sweep_curves.png").stat().st_size > 10_000
    assert "running" not in run(workplace, "run", str(recipe), "--run_dir", "outputs/table")
