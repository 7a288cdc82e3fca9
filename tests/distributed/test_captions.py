"""SwinBERT on two ranks, one of them with twice the clips and longer captions: the training of one process on all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from rank_runs import Runs, checkpoint, same

from modules.methods.swinbert.swinbert_folder import load_network
from recipes.launcher.guard import ROOT

pytestmark = pytest.mark.slow
SECOND = ["blue-red.mp4", "blue-green.mp4"]
"""The clips of the second rank."""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    return Runs(tmp_path_factory.mktemp("captions"), ROOT / "tests/distributed/train_captions.py")


def trained(folder: Path) -> dict[str, torch.Tensor]:
    """Weights after three updates."""
    return {n: w for n, w in checkpoint(folder, 3)["state_dict"].items() if w.is_floating_point()}


def told(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "done.json").read_text())


def as_one(one: Path, two: Path, rtol: float = 1e-3) -> None:
    """Losses of each update and weights after the last agree; a softmax does not feel the biases of keys."""
    assert told(one)["losses"] == pytest.approx(told(two)["losses"], rel=1e-4)
    found = [{n: w for n, w in trained(run).items() if not n.endswith("key.bias")} for run in (one, two)]
    same(*found, rtol)


@pytest.mark.long
@pytest.mark.parametrize("strategy", ["ddp", "zero2", "zero3"])
def test_two_unequal_ranks_train_as_one_process_does(runs: Runs, strategy: str) -> None:
    if strategy != "ddp":
        pytest.importorskip("deepspeed", reason="deepspeed is not installed")
    one, two = runs("one"), runs(strategy, ranks=2, strategy=strategy)
    assert len(told(one)["losses"]) == 3
    as_one(one, two)
    saved = load_network(str(two / "model"))  # the captioner that it leaves is whole, too
    weights = trained(two)
    for name, tensor in saved.named_parameters():
        torch.testing.assert_close(tensor, weights[f"network.{name}"], msg=name)


@pytest.mark.long
@pytest.mark.parametrize("strategy", ["ddp", "zero3"])
def test_a_rank_without_a_clip_that_can_be_decoded_counts_for_nothing(runs: Runs, strategy: str) -> None:
    one, two = runs("one_bad", bad=SECOND), runs(f"bad_{strategy}", bad=SECOND, ranks=2, strategy=strategy)
    as_one(one, two)


@pytest.mark.long
@pytest.mark.parametrize("strategy", ["ddp", "zero2", "zero3"])
def test_rewards_of_drawn_captions_too(runs: Runs, strategy: str) -> None:
    """The same captions are drawn, of unlike lengths."""
    one = runs("one_rewards", objective="rewards")
    as_one(one, runs(f"rewards_{strategy}", objective="rewards", ranks=2, strategy=strategy))


@pytest.mark.long
@pytest.mark.parametrize("strategy", ["zero2", "zero3"])
def test_what_is_not_trained_is_saved_whole(runs: Runs, strategy: str) -> None:
    """A binary mask and a frozen backbone."""
    frozen = {"mask": "binary", "frozen_backbone": True}
    one, two = runs("one_frozen", **frozen), runs(f"frozen_{strategy}", ranks=2, strategy=strategy, **frozen)
    assert checkpoint(one, 3)["state_dict"].keys() == checkpoint(two, 3)["state_dict"].keys()
    as_one(one, two)


@pytest.mark.long
@pytest.mark.parametrize("strategy", ["zero2", "zero3"])
def test_a_scattered_run_is_resumed_by_one_process(runs: Runs, strategy: str) -> None:
    start = str(runs(strategy, ranks=2, strategy=strategy) / "step=3.ckpt")
    on, whole = runs(f"on_{strategy}", max_steps=5, resume=start), runs("five", max_steps=5)
    ours, theirs = (checkpoint(run, 5)["state_dict"] for run in (whole, on))
    for name in ("network.mask.logits", "network.encoder.video_in.weight", "network.backbone.norm.weight"):
        torch.testing.assert_close(ours[name], theirs[name], rtol=2e-3, atol=2e-4)


@pytest.mark.long
def test_mixed_precision_computes_in_bfloat16_under_zero_as_well(runs: Runs) -> None:
    """Near what one process finds in float32, and not equal to it."""
    one, two = runs("one"), runs("bf16_zero2", ranks=2, strategy="zero2", precision="bf16-mixed")
    losses = told(one)["losses"], told(two)["losses"]
    assert losses[0] == pytest.approx(losses[1], rel=0.03)
    assert losses[0] != pytest.approx(losses[1], rel=1e-5)
    assert all(w.dtype == torch.float32 for w in trained(two).values())
