"""The launcher as a user meets it: messages, exit codes, help; and that every recipe passes `check`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from jsonargparse import ArgumentError

from recipes.launcher.check import check
from recipes.launcher.cli import main
from recipes.launcher.guard import ROOT, shadowed
from recipes.launcher.mistakes import RecipeError, reason_of
from recipes.launcher.recipe_files import header, own_recipes
from recipes.launcher.submit import seconds_of

RECIPES = [str(path.relative_to(ROOT)) for path in own_recipes()]
RUNNABLE = [r for r in RECIPES if "overlays" not in r]
OVERLAYS = [r for r in RECIPES if "overlays" in r and "try_out" not in r]  # those are run in test_real_recipes
CAPTION = ["--videos", "clips", "--out", "captions.jsonl"]
BASES = {
    "small_models": ("recipes/mine/train.yaml", []),
    "curriculum": ("recipes/refocus.yaml", []),
    "random_frames": ("recipes/kairos.yaml", []),
    "question_only": ("recipes/msjoe_pretrain.yaml", []),
    "trained": ("recipes/comparison.yaml", ["--checkpoint", "null"]),
    "samplers": ("recipes/comparison.yaml", ["--model.weights", "null"]),
    "yardsticks": ("recipes/eval/videomme.yaml", []),
    "precomputed": ("recipes/eval/videomme.yaml", ["--selections", "selections.parquet"]),
    "served": ("recipes/paper/tspo_qwen2_5_vl_7b.yaml", []),
    "straight_through": ("recipes/videostreaming.yaml", []),
    "tspo_over_memories": ("recipes/videostreaming.yaml", []),
    "unet_over_memories": ("recipes/videostreaming.yaml", []),
    "lvbench": ("recipes/paper/videolucy_qwen2_5_vl_7b.yaml", []),
    "mlvu": ("recipes/paper/videolucy_qwen2_5_vl_7b.yaml", []),
    **{name: ("recipes/videolucy.yaml", []) for name in ("depth_two", "false_captions", "hour", "no_cue")},
    "caption_mllm": ("recipes/data/caption.yaml", CAPTION),
    "caption_served": ("recipes/data/caption.yaml", CAPTION),
    "caption_swinbert": ("recipes/data/caption.yaml", [*CAPTION, "--model", "recipes"]),
    "eval_caption_mllm": ("recipes/eval/msrvtt.yaml", []),
    "needles_swinbert": ("recipes/data/needles.yaml", ["--captioner", "recipes"]),
    "ask": ("recipes/eval/mlvu.yaml", ["--video", "v.mp4", "--question", "What?"]),
}
# what a recipe leaves to the command line, or to a recipe before it
FILL_IN = {
    "ask": ["--video", "v.mp4", "--question", "What?", "--checkpoint", "null"],
    "stream": ["--video", "v.mp4", "--question", "What?", "--at", "60", "--checkpoint", "null"],
    "caption": CAPTION,
    **{f"answerer{n}": ["--model.mllm.path", "recipes/haystack/weights/vlm"] for n in ("", "_more", "_apart")},
    "haystack": ["--checkpoint", "null"],
    "eval": ["--checkpoint", "null"],
    "msjoe_qwen2_5_vl_7b": ["--model.init_from", "null"],
    **{name: ["--captioner", "recipes"] for name in ("msrvtt", "msvd", "vatex", "tvc", "youcook2")},
}


@pytest.fixture(autouse=True)
def _in_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def lightning(*words: str, **env: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "recipes", *words],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=120,
        env={**os.environ, **env},
    )


@pytest.mark.parametrize("recipe", RUNNABLE)
def test_every_recipe_passes_check(recipe: str) -> None:
    check(recipe, [], FILL_IN.get(Path(recipe).stem, []), files=False)  # data sets are the reader's


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_overlay_passes_check(overlay: str) -> None:
    recipe, arguments = BASES.get(Path(overlay).stem, ("recipes/tspo.yaml", []))
    check(recipe, [overlay], arguments, files=False)


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_opens_with_what_it_is_and_its_command(recipe: str) -> None:
    command = "serve" if Path(recipe).stem == "serve" else "run"
    assert f"lightning {command}" in "\n".join(header(recipe))


def mistakes(*overrides: str, recipe: str = "recipes/tspo.yaml") -> list[str]:
    with pytest.raises(RecipeError) as error:
        check(recipe, [], list(overrides))
    return error.value.mistakes


def test_every_mistake_at_once() -> None:
    found = mistakes(
        "--model.num_frame",
        "4",
        "--model.grpo.epsilon",
        "2.0",
        "--data.batch_size",
        "many",
        "--model.sampler.class_path",
        "modules.methods.tspo.agent.TSPOSamplr",
        "--stage",
        "fitt",
        "--trainer.max_stepz",
        "3",
        "--data.world.size_px",
        "63",
    )
    text = "\n".join(found)
    assert "model.init_args.num_frame: no such key; did you mean 'num_frames'?" in text
    assert "did you mean 'TSPOSampler'" in text
    assert "'fitt' is none of fit, validate, test, predict" in text
    assert "trainer.max_stepz: no such key; did you mean 'max_steps'?" in text
    assert "data.init_args.batch_size: 'many'" in text
    assert "epsilon=2.0: between 0 and 1" in text
    assert "size_px=63" in text
    assert len(found) == 7


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["--model.rewards.accuracy.reward", "modules.rewards.accuracy.Acuracy"], "did you mean 'Accuracy'"),
        (["--model.rewards.accuracy.wieght", "1"], "wieght: no such key; did you mean 'weight'?"),
        (
            ["--model.reward_weights", "[1.0, 0.0]"],
            "reward_weights: a weight now stands beside its reward",
        ),
        (["--model.sampler_reward_weights", "[1.0]"], "a weight now stands beside its reward: rewards.NAME.weight"),
        (["--model.num_frames", "0"], "num_frames: 0"),
        (["--model.optimizer.learning_rate", "-1"], "optimizer: learning_rate=-1: above 0"),
        (["--model.evolve", "both"], "evolve: 'both'"),
        (["--data.encoder.class_path", "modules.methods.tspo.agent.TSPOSampler"], "is not a FrameEncoder"),
        (["--modle", "x"], "modle: no such key; did you mean 'model'?"),
        (["--trainer.max_steps", "'7'"], "'7' is text where a number is wanted; write it without quotes"),
        (["model.num_frames=4"], "expected --dotted.key value; did you mean --model.num_frames=4?"),
        (["recipes/overlays/smoke.yaml"], "did you mean --overlay recipes/overlays/smoke.yaml?"),
        (["--checkpoint", "nowhere.ckpt"], "no such file: nowhere.ckpt"),
        (["--model.mllm.path", "recipes/haystack/weights/nothing"], "path"),
        (["--data.seed", "${no_such_key}"], "no_such_key"),
        (["--model.init_from", "last:nothing"], "init_from: no run of 'nothing' has a checkpoint"),
        (["--model.init_from", "nowhere/sampler.safetensors"], "init_from: no such file"),
        (["--model.sampler.weights", "./nowhere"], "weights: './nowhere'"),
        (["--model.optimizer.learning_rate", "'1e-5'"], "learning_rate: '1e-5' is text where a number is wanted"),
        (["--model.learning_rate", "1e-5"], "learning_rate: it is now optimizer.learning_rate"),
        (["--model.rows_per_forward", "8"], "rows_per_forward: it is now answering.rows_per_forward"),
    ],
)
def test_one_mistake(overrides: list[str], message: str) -> None:
    assert any(message in m for m in mistakes(*overrides)), mistakes(*overrides)


def test_overrides_reach_through_interpolations_and_leave_init_args_out() -> None:
    merged = check("recipes/tspo.yaml", [], ["--seed_everything", "5", "--model.num_frames=3"])
    assert merged.model.init_args.grpo.seed == merged.data.init_args.seed == 5
    assert merged.model.init_args.num_frames == 3


@pytest.mark.parametrize("order", [1, -1], ids=["class first", "class last"])
def test_another_class_drops_the_arguments_of_the_one_before_it_and_no_typed_one(order: int) -> None:
    words = [("--job.mllm.class_path", "modules.mllms.llava_onevision.LlavaOnevision"), ("--job.mllm.path", "weights")]
    words = ["--job.videos", ".", *(word for pair in words[::order] for word in pair)]
    mllm = check("recipes/data/needles.yaml", [], words, files=False).job.init_args.mllm
    assert (mllm.class_path.rpartition(".")[2], dict(mllm.init_args)) == ("LlavaOnevision", {"path": "weights"})
    whole = "{class_path: modules.mllms.llava_onevision.LlavaOnevision, init_args: {path: weights}}"
    assert (
        check("recipes/data/needles.yaml", [], [*words[:2], "--job.mllm", whole], files=False).job.init_args.mllm
        == mllm
    )
    kept = check("recipes/tspo.yaml", [], ["--model.sampler.class_path", "modules.methods.tspo.agent.TSPOSampler"])
    assert kept.model.init_args.sampler.init_args.dim == 64  # the same class


@pytest.mark.parametrize("number", ["1e-5", "1E-5", "+1e-5", ".1e-4", "0.00001"])
def test_a_number_is_a_number_on_the_command_line_and_in_a_file(number: str, tmp_path: Path) -> None:
    overlay = tmp_path / "overlay.yaml"
    overlay.write_text(f"model: {{init_args: {{joint: {{learning_rate: {number}}}}}}}\n")
    for overlays, words in (([str(overlay)], []), ([], ["--model.joint.learning_rate", number])):
        merged = check("recipes/msjoe.yaml", overlays, words)
        assert merged.model.init_args.joint.learning_rate == 1e-5


def test_a_recipe_and_its_files_are_found_from_any_working_folder(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    merged = check("recipes/msjoe.yaml", ["recipes/overlays/smoke.yaml"], [])
    assert merged.model.init_args.mllm.init_args.path == str(ROOT / "recipes/haystack/weights/msjoe/vlm")
    assert merged.data.init_args.encoder.init_args.model == f"local-dir:{ROOT}/recipes/haystack/weights/msjoe/clip"


def test_missing_values_of_ask_are_named() -> None:
    found = mistakes("--checkpoint", "null", recipe="recipes/ask.yaml")
    assert found == ["data.init_args.video: needs a value", "data.init_args.question: needs a value"]


@pytest.mark.slow
def test_messages_and_exit_codes_of_the_real_command() -> None:
    wrong = lightning("run", "recipes/tspo.yml")
    assert wrong.returncode == 1
    assert "did you mean recipes/tspo.yaml?" in wrong.stderr
    assert "Traceback" not in wrong.stderr
    listing = lightning("ls")
    assert listing.returncode == 0
    assert all(recipe in listing.stdout for recipe in RECIPES)
    assert "recipes/base" not in listing.stdout
    assert "lightning run recipes/tspo.yaml" in lightning("--help").stdout
    described = lightning("run", "recipes/ask.yaml", "--help").stdout
    assert "--video" in described
    assert "--model.num_frames 8" in described
    assert lightning("check", "recipes/tspo.yaml").stdout.strip() == "recipes/tspo.yaml: no mistakes found"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["chek", "recipes/tspo.yaml"], "'chek' is no command; did you mean 'check'?"),
        (["recipes/tspo.yaml"], "to run a recipe: lightning run recipes/tspo.yaml"),
        (["fly"], "'fly' is no command; there are run, serve, check, submit, ls, score"),
    ],
)
def test_a_command_that_is_none(words: list[str], message: str, capsys) -> None:
    with pytest.raises(SystemExit) as refused:
        main(words)
    assert refused.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.slow
def test_a_foreign_package_of_the_same_name_does_no_harm_or_is_named(tmp_path: Path) -> None:
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "__init__.py").touch()
    assert shadowed() == []
    assert lightning("ls", PYTHONPATH=str(tmp_path)).returncode == 0  # our folder is put first
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from recipes.launcher.guard import shadowed; print(shadowed())"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=60).stdout
    assert f"package 'modules' is found in {tmp_path / 'modules'}" in found


def test_another_class_in_an_overlay_brings_its_own_arguments(tmp_path: Path) -> None:
    recipe, overlay = ROOT / "recipes/paper/tspo_qwen2_5_vl_7b.yaml", ROOT / "recipes/overlays/served.yaml"
    merged = check(str(recipe), [str(overlay)], [], files=False)
    mllm = merged.model.init_args.mllm
    assert mllm.class_path.endswith("OpenAIChat")
    assert "frame_pixels" not in mllm.init_args
    assert merged.model.init_args.sampler.init_args.dim == 768
    same = tmp_path / "same.yaml"
    same.write_text(
        "model: {init_args: {mllm: {class_path: modules.mllms.qwen_vl.Qwen25VL, init_args: {positions: v4}}}}\n"
    )
    kept = check(str(recipe), [str(same)], [], files=False).model.init_args.mllm.init_args
    assert (kept.positions, list(kept.frame_pixels)) == ("v4", [200704, 235200])


def test_a_failure_while_building_is_told_in_its_own_words() -> None:
    noticed = OSError("no such model on the hub")
    wrapped = ArgumentError(None, "Parser key 'model'... Given value type: <class 'dict'>")
    wrapped.__cause__ = noticed
    assert reason_of(wrapped) == reason_of(noticed) == "no such model on the hub"


def test_submit_prints_the_command_and_needs_no_slurm() -> None:
    said = lightning(
        "submit",
        "recipes/tspo.yaml",
        "--nodes",
        "4",
        "--gpus",
        "8",
        "--time",
        "12:00:00",
        "--dry-run",
        "--model.num_frames",
        "16",
    )
    assert said.returncode == 0, said.stderr
    for word in (
        "sbatch",
        "--nodes=4",
        "--ntasks-per-node=8",
        "--gpus-per-node=8",
        "--time=12:00:00",
        "train.sbatch",
        "--model.num_frames 16",
        "--signal=B:USR1@600",
    ):
        assert word in said.stdout
    array = lightning("submit", "recipes/data/extract.yaml", "--array", "16", "--dry-run").stdout
    assert "--array=0-15" in array
    assert "array.sbatch" in array


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--nodes", "0"], "--nodes 0: at least 1"),
        (["--gpus", "8", "--ranks", "4"], "one rank a GPU"),
        (["--time", "soon"], "HH:MM:SS"),
        (["--time", "00:10:00"], "--warn-before 600: --time 00:10:00 is 600 s"),
        (["--warn-before", "0"], "--warn-before 0: between 1 and 65535"),
        (["--array", "4", "--nodes", "2"], "--nodes stays 1"),
        (["--model.num_frame", "4"], "did you mean 'num_frames'"),
    ],
)
def test_submit_refuses_before_anything_waits_in_a_queue(words: list[str], message: str) -> None:
    with pytest.raises(SystemExit) as refused:
        main(["submit", str(ROOT / "recipes/tspo.yaml"), "--dry-run", *words])
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("limit", "seconds"),
    [("30", 1800), ("30:15", 1815), ("2:30:15", 9015), ("1-0", 86400), ("1-2:30", 95400), ("1-02:30:15", 95415)],
)
def test_time_limits_are_read_as_slurm_reads_them(limit: str, seconds: int) -> None:
    assert seconds_of(limit) == seconds


def test_lightnings_own_deepspeed_is_refused_with_ours_named() -> None:
    from lightning.pytorch.strategies import DeepSpeedStrategy

    from modules.rl.optimizer_step import optimizer_step_for

    with pytest.raises(ValueError, match=r"ShardedStrategy .*zero3\.yaml"):
        optimizer_step_for(DeepSpeedStrategy.__new__(DeepSpeedStrategy), 1.0, 1)
