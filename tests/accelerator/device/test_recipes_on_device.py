"""The real command on the device: every recipe's two steps, its tests, a resumed run and a question.

Real files, decoders, encoders, models and MLflow, on a few short videos. What a run has to bring is asked of the CPU in
tests/recipes; here it has to come to its end, and a trained sampler to the same answers on both.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import phantom
import pytest
import torch

from modules.selection.selection_files import read_selections
from recipes.launcher.cli import main
from recipes.launcher.guard import ROOT


def overlay(name: str) -> list[str]:
    return ["--overlay", str(ROOT / f"recipes/overlays/{name}.yaml")]


SMOKE = overlay("smoke")
SMALL_WORLD = [
    "--data.world.duration_s",
    "100",
    "--data.world.event_duration_s",
    "[2.0, 2.5]",
    "--data.num_test_videos",
    "2",
]
Run = Callable[..., Path]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("work")


@pytest.fixture
def run(workplace: Path, monkeypatch: pytest.MonkeyPatch, on_device: list[str]) -> Run:
    """Runs a recipe in the workplace on the device; its folder."""

    def call(recipe: str, *words: str, name: str | None = None) -> Path:
        """All that is multiplied in there is multiplied on the device: encoders, samplers and models."""
        monkeypatch.chdir(workplace)
        monkeypatch.setenv("KAIROS_DEBUG", "1")
        monkeypatch.delenv("KAIROS_RUN_DIR", raising=False)
        run_dir = Path("outputs") / (name or Path(recipe).stem) / "run"
        command = ["run", str(ROOT / "recipes" / recipe), *on_device, "--run_dir", str(run_dir), *words]
        with phantom.HostArithmetic() as host:
            main(command)
        assert not host.found or "cpu" in words, host.found
        return workplace / run_dir

    return call


def checkpoint(run_dir: Path) -> dict:
    return torch.load(run_dir / "checkpoints" / "last.ckpt", weights_only=True, map_location="cpu")


def test_tspo_trains_tests_resumes_and_answers(run: Run, workplace: Path, capsys: pytest.CaptureFixture) -> None:
    run_dir = run("tspo.yaml", *SMOKE)
    assert checkpoint(run_dir)["global_step"] == 2
    assert all(p.is_file() for p in (run_dir / "learning_curve.png", run_dir / "test_summary.json"))
    run("tspo.yaml", *SMOKE, "--trainer.max_steps", "3", "--resume", str(run_dir), "--allow-changes")
    assert checkpoint(run_dir)["global_step"] == 3
    video = next((workplace / "data/haystack/videos").rglob("test-00000.mp4"))
    capsys.readouterr()
    asked = run(
        "ask.yaml",
        "--video",
        str(video),
        "--question",
        "What colour is the last shape?",
        "--options",
        "red, green, blue",
        "--checkpoint",
        str(run_dir / "checkpoints/last.ckpt"),
    )
    assert "looked at" in capsys.readouterr().out
    assert (asked / "contact_sheet.png").is_file()


@pytest.mark.long
def test_msjoe_evolves_both(run: Run) -> None:
    saved = checkpoint(run("msjoe.yaml", *SMOKE))["state_dict"]
    assert any("language_model" in name for name in saved)
    assert any(name.startswith("sampler.") for name in saved)


@pytest.mark.long
def test_refocus_and_every_way_to_take_its_frames(run: Run) -> None:
    run_dir = run("refocus.yaml", *SMOKE)
    ways = run("eval/haystack.yaml", *SMALL_WORLD, "--checkpoint", str(run_dir / "checkpoints/last.ckpt"))
    chosen = {
        name: read_selections(ways / "selections.parquet", name)
        for name in ("sampler", "sampled", "best of 8", "official")
    }
    assert all(len(row.frame_ids) == 8 for rows in chosen.values() for row in rows)
    assert chosen["sampled"] != chosen["sampler"] != chosen["best of 8"]


REST = {
    "tspo, joint": ("tspo.yaml", "--model.evolve", "joint"),
    "tspo, official": ("tspo_official.yaml",),
    "tspo, official settings": ("tspo_official.yaml", *overlay("official_settings")),
    "tspo, U-Net": ("tspo.yaml", *overlay("unet")),
    "msjoe, stage 1": ("msjoe_pretrain.yaml",),
    "msjoe, question only": ("msjoe.yaml", *overlay("question_only")),
    "refocus, curriculum": ("refocus.yaml", *overlay("curriculum")),
    "refocus, mamba-2, joint": (
        "refocus.yaml",
        "--model.evolve",
        "joint",
        "--model.sampler.backbone.class_path",
        "modules.methods.refocus.backbones.mamba2.Mamba2Backbone",
    ),
    "refocus, transformer": (
        "refocus.yaml",
        "--model.sampler.backbone.class_path",
        "modules.methods.refocus.backbones.transformer.TransformerBackbone",
    ),
}


@pytest.mark.long
@pytest.mark.parametrize("name", REST)
def test_every_other_recipe(name: str, run: Run) -> None:
    recipe, *words = REST[name]
    assert checkpoint(run(recipe, *SMOKE, *words, name=name))["global_step"] == 2


@pytest.mark.long
def test_a_trained_sampler_answers_alike_on_the_cpu(run: Run) -> None:
    trained = str(run("tspo.yaml", *SMOKE, name="there") / "checkpoints/last.ckpt")
    on_cpu = ("--trainer.accelerator", "cpu", "--trainer.strategy", "auto")
    there, here = (
        json.loads(
            (
                run("tspo.yaml", *SMOKE, "--stage", "test", "--checkpoint", trained, *words, name=name)
                / "test_summary.json"
            ).read_text()
        )
        for name, words in (("test there", ()), ("test here", on_cpu))
    )
    assert there == here


@pytest.mark.long
def test_in_bfloat16(run: Run) -> None:
    words = ("--model.mllm.loading", "{dtype: bfloat16}")
    assert checkpoint(run("tspo.yaml", *SMOKE, *words, name="bfloat16"))["global_step"] == 2
