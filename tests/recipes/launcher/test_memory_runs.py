"""VideoStreaming's recipe runs, in real subprocesses, in each way to learn which memories to read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from recipe_commands import start

from recipes.launcher.guard import ROOT

pytestmark = pytest.mark.long
OVERLAYS = ROOT / "recipes/overlays"
RECIPE = [str(ROOT / "recipes/videostreaming.yaml"), "--overlay", str(OVERLAYS / "smoke.yaml")]
PAPER = ["--overlay", str(OVERLAYS / "straight_through.yaml")]
SYSTEMS = {"blind", "oracle", "uniform", "recent", "random", "before", "after"}


def run(cwd: Path, *words: str) -> str:
    process = start(cwd, *words)
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 0, output[-4000:]
    return output


def compared(run_dir: Path) -> dict[tuple[str, str], float]:
    rows = json.loads((run_dir / "test_summary.json").read_text())
    assert {row["system"] for row in rows} >= SYSTEMS
    return {(row["system"], row["name"]): row["value"] for row in rows}


def weights(run_dir: Path) -> dict[str, torch.Tensor]:
    return torch.load(run_dir / "checkpoints/last.ckpt", weights_only=True)["state_dict"]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory) -> Path:
    """A folder with the short videos written and condensed, and a finished run in the paper's way."""
    cwd = tmp_path_factory.mktemp("work")
    run(cwd, "run", *RECIPE, *PAPER, "--kl_steps", "1", "--run_dir", "outputs/paper")
    return cwd


def test_the_papers_way_ends_in_the_table_and_is_asked(workplace: Path) -> None:
    compared(workplace / "outputs/paper")
    video = next((workplace / "data/haystack/videos").rglob("test-00000.mp4"))
    words = ["--video", str(video), "--question", "What colour is the last shape?", "--options", "red, blue"]
    output = run(workplace, "run", str(ROOT / "recipes/ask.yaml"), "--checkpoint", "outputs/paper", *words)
    assert "looked at" in output
    assert "8 shown" in output  # what the recipe asks with, whatever it was trained with


def test_segments_first_and_rewards_then(workplace: Path) -> None:
    alone = ["--kl_steps", "null", "--answer_weight", "0"]
    run(workplace, "run", *RECIPE, *PAPER, *alone, "--run_dir", "outputs/segments")
    begun = str(workplace / "outputs/segments/checkpoints/last.ckpt")
    run(workplace, "run", *RECIPE, "--model.init_from", begun, "--run_dir", "outputs/rewards")
    segments, rewards = (compared(workplace / f"outputs/{name}") for name in ("segments", "rewards"))
    for (system, name), value in rewards.items():
        if system == "before" and name != "gap closed":  # what one run ends with the next one begins with
            assert value == pytest.approx(segments["after", name], nan_ok=True), name
    first, second = (weights(workplace / f"outputs/{name}") for name in ("segments", "rewards"))
    assert any(not torch.equal(first[name], second[name]) for name in first)


def test_two_processes_equal_one(workplace: Path) -> None:
    gradients = []
    for name, more in (
        ("one", []),
        ("two", ["--overlay", str(OVERLAYS / "cpu_ddp.yaml"), "--data.batch_size", "2"]),
    ):
        short = ["--stage", "[fit]", "--trainer.max_steps", "1", "--trainer.val_check_interval", "1"]
        run(workplace, "run", *RECIPE, *PAPER, *more, *short, "--run_dir", f"outputs/{name}")
        checkpoint = torch.load(workplace / f"outputs/{name}/checkpoints/last.ckpt", weights_only=True)
        states = checkpoint["optimizer_states"][0]["state"]
        gradients.append({index: moments["exp_avg"] for index, moments in states.items()})  # a tenth, after one update
    assert gradients[0].keys() == gradients[1].keys()
    for index, gradient in gradients[0].items():
        tolerance = 1e-4 * float(gradient.abs().max()) + 1e-12
        torch.testing.assert_close(gradient, gradients[1][index], rtol=1e-3, atol=tolerance)


@pytest.mark.parametrize("sampler", ["tspo", "unet"])
def test_another_sampler_over_memories(workplace: Path, sampler: str) -> None:
    overlay = ["--overlay", str(OVERLAYS / f"{sampler}_over_memories.yaml")]
    run(workplace, "run", *RECIPE, *overlay, "--run_dir", f"outputs/{sampler}")
    compared(workplace / f"outputs/{sampler}")
    assert any(name.startswith("sampler.sampler.") for name in weights(workplace / f"outputs/{sampler}"))
