"""Ranks that differ in what they have to do, or in what happens to them: the update is one over all of them."""

from __future__ import annotations

import json

import pytest
import torch
from rank_runs import Runs, checkpoint, same

pytest.importorskip("deepspeed", reason="deepspeed is not installed (pip install --no-build-isolation deepspeed)")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Runs:
    return Runs(tmp_path_factory.mktemp("ranks"))


@pytest.mark.long
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


@pytest.mark.long
@pytest.mark.parametrize(("num_questions", "num_train_videos"), [(3, 2), (1, 4)])
def test_ranks_may_have_unlike_numbers_of_questions_to_validate(
    runs: Runs, num_questions: int, num_train_videos: int
) -> None:
    """Three questions on two ranks, and one on two."""
    folder = runs(
        f"validate{num_questions}",
        ranks=2,
        batch_size=2,
        strategy="zero3",
        validate=True,
        questions_per_video={"needle": num_questions},
        num_train_videos=num_train_videos,
    )
    assert 0 <= json.loads((folder / "done.json").read_text())["val/accuracy"] <= 1


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


@pytest.mark.long
def test_a_rank_that_never_comes_back_ends_the_run(runs: Runs) -> None:
    ended = runs.start("stall", ranks=2, batch_size=2, strategy="ddp", max_steps=3, stall=True)
    assert ended.returncode != 0
    stacks = [p.read_text() for p in sorted((runs.root / "stall/stalled").glob("rank_*.txt"))]
    assert stacks
    assert all("no batch ended for 15 s" in text for text in stacks)
    assert any("Thread" in text for text in stacks)  # the first rank to end may take the other with it
