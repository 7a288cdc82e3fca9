"""A 7B-shaped TSPO step and 3B-shaped joint steps with random weights in bfloat16, whole on the device."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from cases import CASES
from steps import take_steps

from recipes.launcher.guard import ROOT

ROOM_GIB = {"tspo_7b": 30, "joint_3b_lora": 60, "joint_3b_zero3": 76}  # by check --memory, and some


@pytest.mark.parametrize("name", CASES)
def test_two_steps_move_what_is_trained_and_stay_on_the_device(name: str, device: torch.device, tmp_path: Path) -> None:
    case = CASES[name]
    if case.zero3:
        pytest.importorskip("deepspeed", reason="deepspeed is not installed")
        if device.type not in ("cuda", "cpu"):
            pytest.skip(f"DeepSpeed knows no device {device.type}")
    if device.type != "cuda":
        case = case.small()
    elif torch.cuda.mem_get_info()[1] < 2**30 * ROOM_GIB[name]:
        pytest.skip(f"needs {ROOM_GIB[name]} GiB of device memory")
    module, watch = take_steps(case, tmp_path, device, 2)
    assert all(math.isfinite(loss) for loss in watch.losses)
    assert len(watch.totals) == 2
    assert {"sample", "encode", "answer", "update"} <= watch.parts[-1].keys()
    if not case.zero3:  # DeepSpeed has put its parameters elsewhere by now
        assert {p.device.type for p in module.parameters()} == {device.type}
        assert {b.device.type for b in module.buffers()} <= {device.type}
    moved = moved_tensors(module)
    assert moved["sampler"] > 0
    assert (moved["mllm"] > 0) == (case.joint and not case.zero3)


def moved_tensors(module: Any) -> dict[str, int]:
    """Trained tensors whose first moment in Adam is not zero, by owner; without those that DeepSpeed holds."""
    optimizer: Any = module.trainer.optimizers[0]
    owner = {id(p): "sampler" if n.startswith("sampler.") else "mllm" for n, p in module.named_parameters()}
    found = {"sampler": 0, "mllm": 0}
    for parameter, state in optimizer.state.items():
        if id(parameter) in owner and state["exp_avg"].abs().sum() > 0:
            found[owner[id(parameter)]] += 1
    return found


@pytest.mark.long
def test_the_benchmark_runs_in_small_and_compares_with_its_last_run(tmp_path: Path) -> None:
    """On the CPU, wherever these tests run: that the code for the day of the card runs at all."""
    file = tmp_path / "cpu-small.json"
    file.write_text(json.dumps([{"cases": {"tspo_7b": {"step_s": 1e9}, "joint_3b_lora": {"step_s": 1e-9}}}]))
    words = ["--device", "cpu", "--small", "--steps", "1", "--case", "tspo_7b", "--case", "joint_3b_lora"]
    done = subprocess.run(
        [sys.executable, "tests/benchmarks/gpu_step.py", *words, "--out", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}", "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 1
    assert "slower than the last time:\njoint_3b_lora" in done.stderr
    assert "times the last step of this card" in done.stdout
    runs = json.loads(file.read_text())
    assert len(runs) == 2
    for case in runs[-1]["cases"].values():
        assert case["step_s"] > 0
        assert {"sample", "encode", "answer", "update"} <= case["parts_s"].keys()
        assert case["estimated_gib"] > 0


@pytest.mark.long
def test_without_a_card_the_benchmark_says_so_and_writes_nothing(tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a card")
    done = subprocess.run(
        [sys.executable, "tests/benchmarks/gpu_step.py", "--out", str(tmp_path / "b")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=200,
        check=True,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"},
    )
    assert "no CUDA device" in done.stdout
    assert not (tmp_path / "b").exists()
