"""The arithmetic of memory and time, by hand and by what has to hold."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from recipes.launcher.cost.gpus import GPUS, gpu_named, gpu_of_device
from recipes.launcher.cost.memory import checkpoint_bytes, gradients, held, on_host, phases
from recipes.launcher.cost.report import report
from recipes.launcher.cost.time import step_parts
from recipes.launcher.cost.workload import Workload, workload_of
from recipes.launcher.guard import ROOT
from recipes.launcher.merge import merge, resolve

JOINT = "recipes/paper/msjoe_qwen2_5_vl_7b.yaml"
TRAINED, ALL = 7_615_616_512, 8_292_166_656  # Qwen2.5-VL-7B's language model; with its tower
WITH_MODELS = ("recipes/*.yaml", "recipes/eval/*.yaml", "recipes/paper/*.yaml", "recipes/data/pass_rates.yaml")


@pytest.fixture(autouse=True)
def _in_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def work(recipe: str = JOINT, *words: str) -> Workload:
    return workload_of(resolve(merge([recipe], list(words)), recipe))


@pytest.fixture(scope="module")
def joint() -> Workload:
    return work(str(ROOT / JOINT))


def under(joint: Workload, name: str, **more: Any) -> Workload:
    return dataclasses.replace(joint, strategy=dataclasses.replace(joint.strategy, name=name, **more))


def test_what_each_strategy_holds(joint: Workload) -> None:
    names = ("frozen weights", "trained weights", "master weights", "moments")
    frozen = ALL - TRAINED

    def sizes(workload: Workload) -> list[float]:
        return [held(workload).get(name, 0) for name in names]

    assert sizes(under(joint, "ddp")) == [2 * frozen, 4 * TRAINED, 0, 8 * TRAINED]
    assert sizes(under(joint, "zero2")) == [2 * frozen, 2 * TRAINED, TRAINED / 2, TRAINED]
    assert sizes(under(joint, "zero3")) == [frozen / 4, TRAINED / 4, TRAINED / 2, TRAINED]
    offloaded = under(joint, "zero3", offload_optimizer=True, offload_parameters=True)
    assert sizes(offloaded) == [0, 0, 0, 0]
    assert on_host(offloaded)["optimizer states and gradients"] == 2 * TRAINED
    assert gradients(under(joint, "ddp")) == 2 * gradients(under(joint, "one"))
    assert checkpoint_bytes(joint) == 12 * (TRAINED + joint.sampler.num_trained)


def test_more_gpus_hold_less_and_checkpoints_of_activations_keep_less(joint: Workload) -> None:
    def most(workload: Workload) -> float:
        return max(p.total for p in phases(workload))

    sizes = [most(joint.on(n)) for n in (1, 2, 4, 8, 16)]
    assert sizes == sorted(sizes, reverse=True)
    assert most(dataclasses.replace(joint, checkpoints_activations=False)) > most(joint)
    one_row = dataclasses.replace(joint, rows_per_forward=1)
    totals = [{p.name: p.total for p in phases(workload)} for workload in (one_row, joint)]
    assert all(totals[0][name] < totals[1][name] for name in ("loss", "answer"))
    assert most(dataclasses.replace(joint, num_copies=1)) == most(joint) + 2 * ALL


def test_cache_of_keys_and_values_by_hand(joint: Workload) -> None:
    """28 layers and one being copied, 4 heads of 128 for keys and for values, 2 bytes, 4 rows of 9 856 + 256 tokens."""
    (answer,) = (p for p in phases(joint) if p.name == "answer")
    assert answer.parts["keys and values"] == 29 * 2 * 512 * 2 * 4 * (9856 + 256)


def test_lora_trains_its_layers_alone() -> None:
    lora = work(JOINT, "--model.mllm.loading.lora", "{r: 64}", "--trainer.strategy", "ddp")
    each = 64 * (2 * (3584 + 3584) + 2 * (3584 + 512))  # q and o, k and v
    assert lora.num_trained == 28 * each
    assert held(lora)["frozen weights"] == 2 * ALL
    full = work(JOINT)
    flops = {
        p.name: p.flops for w in (lora, full) for p in step_parts(w, GPUS["h100"]) if p.name.startswith("update: f")
    }
    assert len(flops) == 1
    assert lora.model is not None


def test_samplers_of_parts_are_counted() -> None:
    refocus = work("recipes/paper/refocus_1_3b.yaml")
    assert refocus.sampler.num_trained == 1_358_705_665
    assert refocus.positions == 512 * 196
    (loss,) = (p for p in phases(refocus) if p.name == "loss")
    assert loss.parts["sampler's activations"] > 400 * 2**30  # what the recipe's own comment warns of


def test_time_by_hand() -> None:
    """Generation reads the weights once a token: 256 tokens, 2 parts of 4 rows, at 0.6 of 3.35 TB/s."""
    parts = {p.name: p for p in step_parts(work(), GPUS["h100"])}
    written = parts["answer: tokens"]
    cache = 2 * 512 * 2 * 28 * 8 * (9856 + 128)
    assert written.bytes_moved == 256 * (2 * 2 * TRAINED + cache)
    assert written.seconds == pytest.approx(written.bytes_moved / (0.6 * 3.35e12))
    update = parts["update: forward and backward"]
    assert update.flops > 4 * 2 * (TRAINED - 152_064 * 3584) * 8 * (9856 + 256 + 768 + 256)  # 4 passes, 2 turns
    slower = {p.name: p for p in step_parts(work(), GPUS["a100"])}
    assert slower["update: forward and backward"].seconds == pytest.approx(989 / 312 * update.seconds)


@pytest.mark.parametrize("pattern", WITH_MODELS)
def test_every_recipe_with_a_model_has_an_estimate(pattern: str) -> None:
    recipes = sorted(Path().glob(pattern))
    assert recipes
    for recipe in recipes:
        merged = merge([str(recipe)], [])
        if "mllm" not in (merged.get("model") or merged.get("job")).init_args:
            continue
        said = report(merged, str(recipe), memory=True, gpu=GPUS["l40s"], time=True)
        assert "arithmetic, not a measurement" in said, recipe
        assert "largest" in said, recipe
        assert "tokens/s" in said, recipe


def test_a_served_model_costs_nothing_here() -> None:
    served = merge(["recipes/paper/tspo_qwen2_5_vl_7b.yaml", "recipes/overlays/served.yaml"], [])
    said = report(served, "r", memory=True, gpu=GPUS["h100"], time=True)
    assert "its memory is the server's" in said
    assert "nothing to tell" in said


def test_cards_by_name_and_by_what_devices_call_themselves() -> None:
    assert gpu_named("H100").name == "H100 SXM"
    with pytest.raises(ValueError, match=r"--gpu v100: known are a100"):
        gpu_named("v100")
    assert gpu_of_device("NVIDIA H100 80GB HBM3") is GPUS["h100"]
    assert gpu_of_device("NVIDIA A100-SXM4-40GB") is GPUS["a100-40"]
    assert gpu_of_device("NVIDIA A100-SXM4-80GB") is GPUS["a100"]
    assert gpu_of_device("NVIDIA GeForce RTX 4090") is GPUS["rtx4090"]
    assert gpu_of_device("Tesla T4") is None
