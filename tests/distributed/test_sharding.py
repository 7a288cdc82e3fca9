"""Real DeepSpeed in real processes over gloo: ZeRO is the same training as DDP, and its checkpoints are anybody's."""

from __future__ import annotations

import json

import pytest
import torch
from rank_runs import Runs, checkpoint, same

from modules.small_stack.blank_families import write_blank_videostreaming

pytest.importorskip("deepspeed", reason="deepspeed is not installed (pip install --no-build-isolation deepspeed)")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Runs:
    return Runs(tmp_path_factory.mktemp("sharding"))


LONG = pytest.mark.long
CASES = [
    ("zero3", "float32"),
    pytest.param("ddp", "bfloat16", marks=LONG),
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


@pytest.mark.parametrize(("strategy", "dtype"), CASES)
def test_who_computes_in_what(runs: Runs, strategy: str, dtype: str) -> None:
    """The sampler, all that is stepped and all that is saved in float32, whatever the MLLM computes in."""
    folder = runs.two(strategy, dtype)
    model = dtype if strategy.startswith("zero") else "float32"
    assert json.loads((folder / "dtypes.json").read_text()) == {
        "sampler": ["float32"],
        "sampler gradients": ["float32"],
        "mllm trained": [model],
        "mllm gradients": [model],
        "mllm frozen": [dtype],
        "stepped": ["float32"],
        "moments": ["float32"],
    }
    saved = checkpoint(folder, 1)
    moments = [s["exp_avg"] for s in saved["optimizer_states"][0]["state"].values()]
    assert {t.dtype for t in (*saved["state_dict"].values(), *moments)} == {torch.float32}
    if dtype == "bfloat16":  # masters, not what they were cast to
        weights = saved["state_dict"]["mllm.model.model.language_model.layers.0.self_attn.q_proj.weight"]
        assert not torch.equal(weights, weights.bfloat16().float())


@pytest.mark.long
@pytest.mark.parametrize("strategy", ["ddp", "zero3"])
def test_selection_and_answerer_learn_together_on_memories(runs: Runs, strategy: str) -> None:
    """VideoStreaming on two ranks is what it is on one: a Phi's layers that choose, and a Llama that answers."""
    models = runs.root / "models"
    if not models.exists():
        write_blank_videostreaming(models)
    more = {"batch_size": 2, "memories": str(models)}
    files = runs("memories", accumulate=2, **more), runs(f"memories_{strategy}", ranks=2, strategy=strategy, **more)
    one, other = (torch.load(f / "first_step.pt", weights_only=True) for f in files)
    for part in ("sampler.condenser.layers.", "sampler.clip_head.", "mllm.model.model.layers.", "mllm.output."):
        assert max(float(g.abs().max()) for n, g in one["gradients"].items() if n.startswith(part)) > 1e-6, part
    same(one["gradients"], other["gradients"], 1e-4)
    # a softmax hardly feels the keys' biases: Adam's first step is the sign of what rounding leaves of their gradient
    weights = ({n: w for n, w in run["weights"].items() if not n.endswith("k_proj.bias")} for run in (one, other))
    same(*weights, 1e-4)


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


@pytest.mark.long
@pytest.mark.parametrize("stage", [2, 3])
def test_a_sharded_run_resumes_to_the_same_numbers(runs: Runs, stage: int) -> None:
    whole = runs.zero3() if stage == 3 else runs.zero2()
    start = str(whole / "step=1.ckpt")
    again = runs(f"again{stage}", ranks=2, batch_size=2, strategy=f"zero{stage}", max_steps=2, resume=start)
    finished, resumed = (checkpoint(f, 2)["state_dict"] for f in (whole, again))
    for name, tensor in finished.items():
        assert torch.equal(tensor, resumed[name]), name


@pytest.mark.long
def test_a_sharded_run_goes_on_in_one_process(runs: Runs) -> None:
    start = str(runs.zero3() / "step=1.ckpt")
    alone = runs("alone", batch_size=2, accumulate=2, max_steps=2, resume=start)
    same(checkpoint(runs.one(), 2)["state_dict"], checkpoint(alone, 2)["state_dict"], 2e-3)


@pytest.mark.long
def test_a_sharded_run_of_the_sampler_alone_is_told_to_use_ddp(runs: Runs) -> None:
    ended = runs.start("sampler_alone", strategy="zero2", evolve="sampler")
    assert ended.returncode != 0
    assert "under evolve: sampler it is not trained" in ended.stderr
    assert "recipes/overlays/ddp.yaml" in ended.stderr
