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

from recipes.launcher.guard import ROOT

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
            env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}", "OMP_NUM_THREADS": "1"},
        )  # fmt: skip

    def one(self) -> Path:
        return self("one", batch_size=2, accumulate=2, max_steps=2)

    def zero3(self) -> Path:
        return self("zero3", ranks=2, batch_size=2, strategy="zero3", max_steps=2, test=True, lopsided=True)

    def zero2(self) -> Path:
        return self("zero2", ranks=2, batch_size=2, strategy="zero2", max_steps=2)

    def two(self, strategy: str, dtype: str) -> Path:
        """One step of two ranks."""
        known = {"zero2": self.zero2, "zero3": self.zero3}
        if dtype == "float32" and strategy in known:
            return known[strategy]()
        return self(f"{strategy}_{dtype}", ranks=2, batch_size=2, strategy=strategy, dtype=dtype)

    def alone(self, strategy: str, dtype: str) -> Path:
        """The same step of one rank that accumulates, computing in the same precision: ZeRO casts the whole model."""
        if dtype == "float32":
            return self.one()
        single = strategy if strategy.startswith("zero") else "auto"
        return self(f"{single}_{dtype}_alone", batch_size=2, accumulate=2, strategy=single, dtype=dtype)


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
CASES = [
    ("zero3", "float32"),
    ("ddp", "bfloat16"),
    pytest.param("zero3", "bfloat16", marks=LONG),
    pytest.param("ddp", "float32", marks=LONG),
    pytest.param("zero2", "float32", marks=LONG),
    pytest.param("zero2", "bfloat16", marks=LONG),
    pytest.param("zero3_offload", "float32", marks=LONG),
    pytest.param("zero3_offload", "bfloat16", marks=LONG),
]


@pytest.mark.parametrize(("strategy", "dtype"), CASES)
def test_two_ranks_take_the_step_of_one_with_accumulation(runs: Runs, strategy: str, dtype: str) -> None:
    """Also where the second rank runs more forwards than the first (zero3 in float32)."""
    files = runs.alone(strategy, dtype), runs.two(strategy, dtype)
    one, other = (torch.load(f / "first_step.pt", weights_only=True) for f in files)
    assert any("language_model" in n for n in one["gradients"])
    assert max(float(g.abs().max()) for g in one["gradients"].values()) > 1e-4
    # DeepSpeed averages gradients in the precision of the model
    rtol = 1e-2 if dtype == "bfloat16" and strategy.startswith("zero") else 1e-4
    same(one["gradients"], other["gradients"], rtol)
    same(one["weights"], other["weights"], rtol)  # Adam's count of steps is right, too


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


@pytest.mark.parametrize(("num_questions", "num_train_videos"), [(3, 2), pytest.param(1, 4, marks=LONG)])
def test_ranks_may_have_unlike_numbers_of_questions_to_validate(
    runs: Runs, num_questions: int, num_train_videos: int
) -> None:
    """Three questions on two ranks, and one on two."""
    folder = runs(
        f"validate{num_questions}", ranks=2, batch_size=2, strategy="zero3", validate=True,
        questions_per_video={"needle": num_questions}, num_train_videos=num_train_videos,
    )  # fmt: skip
    assert 0 <= json.loads((folder / "done.json").read_text())["val/accuracy"] <= 1


@pytest.mark.parametrize(("strategy", "dtype"), CASES)
def test_who_computes_in_what(runs: Runs, strategy: str, dtype: str) -> None:
    """The sampler, all that is stepped and all that is saved in float32, whatever the MLLM computes in."""
    folder = runs.two(strategy, dtype)
    model = dtype if strategy.startswith("zero") else "float32"
    assert json.loads((folder / "dtypes.json").read_text()) == {
        "sampler": ["float32"], "sampler gradients": ["float32"],
        "mllm trained": [model], "mllm gradients": [model], "mllm frozen": [dtype],
        "stepped": ["float32"], "moments": ["float32"],
    }  # fmt: skip
    saved = checkpoint(folder, 1)
    moments = [s["exp_avg"] for s in saved["optimizer_states"][0]["state"].values()]
    assert {t.dtype for t in (*saved["state_dict"].values(), *moments)} == {torch.float32}
    if dtype == "bfloat16":  # masters, not what they were cast to
        weights = saved["state_dict"]["mllm.model.model.language_model.layers.0.self_attn.q_proj.weight"]
        assert not torch.equal(weights, weights.bfloat16().float())


@pytest.mark.parametrize("stage", [pytest.param(2, marks=LONG), 3])
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


def test_a_sharded_run_of_the_sampler_alone_is_told_to_use_ddp(runs: Runs) -> None:
    ended = runs.start("sampler_alone", strategy="zero2", evolve="sampler")
    assert ended.returncode != 0
    assert "under evolve: sampler it is not trained" in ended.stderr
    assert "recipes/overlays/ddp.yaml" in ended.stderr


@pytest.mark.long
@pytest.mark.parametrize("strategy", ["ddp", "zero2", "zero3"])
def test_a_gradient_that_is_not_finite_on_one_rank_is_no_step_on_any(runs: Runs, strategy: str) -> None:
    """Neither of the MLLM, whose gradient it is, nor of the sampler; the step after it is taken."""
    folder = runs(f"poison_{strategy}", ranks=2, batch_size=2, strategy=strategy, max_steps=2, poison=True)
    first, second = checkpoint(folder, 1), checkpoint(folder, 2)
    start = torch.load(folder / "start.pt", weights_only=True)
    for name, tensor in start.items():
        assert torch.equal(first["state_dict"][name], tensor), name
        assert second["state_dict"][name].isfinite().all(), name
    moved = {n.split(".")[0] for n, t in second["state_dict"].items() if not torch.equal(t, start[n])}
    assert moved == {"sampler", "mllm"}


def test_a_rank_that_never_comes_back_ends_the_run(runs: Runs) -> None:
    ended = runs.start("stall", ranks=2, batch_size=2, strategy="ddp", max_steps=3, stall=True)
    assert ended.returncode != 0
    stacks = [p.read_text() for p in sorted((runs.root / "stall/stalled").glob("rank_*.txt"))]
    assert stacks
    assert all("no batch ended for 15 s" in text for text in stacks)
    assert any("Thread" in text for text in stacks)  # the first rank to end may take the other with it
