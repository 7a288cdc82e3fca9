"""Real DeepSpeed in real processes over gloo: ZeRO is the same training as DDP, and its checkpoints are anybody's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from recipes.guard import ROOT

pytest.importorskip("deepspeed", reason="deepspeed is not installed (pip install --no-build-isolation deepspeed)")
pytestmark = pytest.mark.slow
SCRIPT = ROOT / "tests/distributed/train_joint.py"


class Runs:
    """Trainings, each run once and kept."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def __call__(self, name: str, **settings: Any) -> Path:
        folder = self.root / name
        if not folder.exists():
            done = self.start(name, **settings)
            assert done.returncode == 0, done.stderr[-6000:]
        assert (folder / "done.json").is_file()
        return folder

    def start(self, name: str, **settings: Any) -> subprocess.CompletedProcess:
        folder = self.root / name
        folder.mkdir()
        return subprocess.run(
            [sys.executable, str(SCRIPT), str(folder), json.dumps(settings)], cwd=folder, capture_output=True,
            text=True, timeout=300, check=False,
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        )  # fmt: skip

    def one(self) -> Path:
        return self("one", batch_size=2, accumulate=2, max_steps=2)

    def zero3(self) -> Path:
        return self("zero3", ranks=2, batch_size=2, strategy="zero3", max_steps=2, test=True)

    def ddp(self) -> Path:
        return self("ddp", ranks=2, batch_size=2, strategy="ddp")

    def offload(self) -> Path:
        return self("offload", ranks=2, batch_size=2, strategy="zero3_offload")

    def zero2(self) -> Path:
        return self("zero2", ranks=2, batch_size=2, strategy="zero2", max_steps=2)


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Runs:
    return Runs(tmp_path_factory.mktemp("sharding"))


def checkpoint(folder: Path, step: int) -> dict[str, Any]:
    return torch.load(folder / f"step={step}.ckpt", weights_only=True)


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor], rtol: float) -> None:
    """Each tensor agrees to a share of its own largest value."""
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        if name == "sampler.head.bias":  # a softmax does not feel it: its gradient is nothing but rounding
            continue
        torch.testing.assert_close(tensor, second[name], rtol=rtol, atol=rtol * float(tensor.abs().max()), msg=name)


LONG = pytest.mark.long


@pytest.mark.parametrize("name", ["ddp", "zero2", "zero3", pytest.param("zero3_offload", marks=LONG)])
def test_two_ranks_take_the_step_of_one_with_accumulation(runs: Runs, name: str) -> None:
    two = {"ddp": runs.ddp, "zero2": runs.zero2, "zero3": runs.zero3, "zero3_offload": runs.offload}[name]()
    one, other = (torch.load(f / "first_step.pt", weights_only=True) for f in (runs.one(), two))
    assert any("language_model" in n for n in one["gradients"])
    assert max(float(g.abs().max()) for g in one["gradients"].values()) > 1e-4
    same(one["gradients"], other["gradients"], 1e-4)
    same(one["weights"], other["weights"], 1e-4)  # Adam's count of steps is right, too


def test_a_mean_over_an_updates_tokens_is_one_over_all_ranks(runs: Runs) -> None:
    """dapo, two batches an update, with answers of unlike lengths: also what is logged is of all ranks and batches."""
    settings = {"accumulate": 2, "loss_type": "dapo"}
    one = runs("dapo_one", batch_size=2, **settings)
    two = runs("dapo_ddp", batch_size=1, ranks=2, strategy="ddp", **settings)
    gradients = [torch.load(f / "first_step.pt", weights_only=True)["gradients"] for f in (one, two)]
    same(*gradients, 1e-4)
    logged = [json.loads((f / "done.json").read_text()) for f in (one, two)]
    for name in ("reward/total", "reward/accuracy", "tokens/length", "policy/entropy_nats"):
        assert logged[0][name] == pytest.approx(logged[1][name], rel=1e-4, nan_ok=True), name


@pytest.mark.parametrize(("num_questions", "num_train_videos"), [(3, 2), (1, 4)])
def test_ranks_may_have_unlike_numbers_of_questions_to_validate(
    runs: Runs, num_questions: int, num_train_videos: int
) -> None:
    """Three questions on two ranks, and one on two."""
    folder = runs(
        f"validate{num_questions}", ranks=2, batch_size=2, strategy="zero3", validate=True,
        questions_per_video={"needle": num_questions}, num_train_videos=num_train_videos,
    )  # fmt: skip
    assert 0 <= json.loads((folder / "done.json").read_text())["val/accuracy"] <= 1


@pytest.mark.parametrize("stage", [2, 3])
def test_the_second_step_is_that_of_one_process_too(runs: Runs, stage: int) -> None:
    """Nothing of the first step's gradients is left in the second's."""
    two = runs.zero3() if stage == 3 else runs.zero2()
    same(checkpoint(runs.one(), 2)["state_dict"], checkpoint(two, 2)["state_dict"], 2e-3)


def test_a_sharded_checkpoint_is_one_plain_file_like_any_other(runs: Runs) -> None:
    sharded, plain = checkpoint(runs.zero3(), 1), checkpoint(runs.one(), 1)
    assert sharded["state_dict"].keys() == plain["state_dict"].keys()
    assert not any("vision_tower" in n for n in sharded["state_dict"])
    states = [c["optimizer_states"][0]["state"] for c in (sharded, plain)]
    assert states[0].keys() == states[1].keys()
    assert float(states[0][0]["step"]) == float(states[1][0]["step"]) == 1.0


@pytest.mark.parametrize("stage", [pytest.param(2, marks=LONG), 3])
def test_a_sharded_run_resumes_to_the_same_numbers(runs: Runs, stage: int) -> None:
    whole = runs.zero3() if stage == 3 else runs.zero2()
    start = str(whole / "step=1.ckpt")
    again = runs(f"again{stage}", ranks=2, batch_size=2, strategy=f"zero{stage}", max_steps=2, resume=start)
    finished, resumed = (checkpoint(f, 2)["state_dict"] for f in (whole, again))
    for name, tensor in finished.items():
        assert torch.equal(tensor, resumed[name]), name


def test_a_sharded_run_goes_on_in_one_process(runs: Runs) -> None:
    start = str(runs.zero3() / "step=1.ckpt")
    alone = runs("alone", batch_size=2, accumulate=2, max_steps=2, resume=start)
    same(checkpoint(runs.one(), 2)["state_dict"], checkpoint(alone, 2)["state_dict"], 2e-3)


def test_a_sampler_only_checkpoint_stays_small_and_ranks_may_generate_unequally(runs: Runs) -> None:
    folder = runs("small", ranks=2, batch_size=2, strategy="zero3", evolve="sampler", lopsided=True)
    saved = checkpoint(folder, 1)
    assert all(n.startswith("sampler.") for n in saved["state_dict"])
    joint = (runs.zero3() / "step=1.ckpt").stat().st_size
    assert (folder / "step=1.ckpt").stat().st_size < 0.05 * joint


def test_a_rank_that_never_comes_back_ends_the_run(runs: Runs) -> None:
    ended = runs.start("stall", ranks=2, batch_size=2, strategy="ddp", max_steps=3, stall=True)
    assert ended.returncode != 0
    stacks = [p.read_text() for p in sorted((runs.root / "stall/stalled").glob("rank_*.txt"))]
    assert stacks
    assert all("no batch ended for 15 s" in text for text in stacks)
    assert any("Thread" in text for text in stacks)  # the first rank to end may take the other with it
