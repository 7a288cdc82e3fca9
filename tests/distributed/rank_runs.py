"""Trainings of a script on one or more ranks, each run once, and what is compared of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from recipes.launcher.guard import ROOT

SCRIPT = ROOT / "tests/distributed/train_joint.py"


class Runs:
    """Trainings, each run once and kept."""

    def __init__(self, root: Path, script: Path = SCRIPT) -> None:
        self.root, self.script = root, script

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
            [sys.executable, str(self.script), str(folder), json.dumps(settings)],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
            env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}", "OMP_NUM_THREADS": "1"},
        )

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


def checkpoint(folder: Path, step: int) -> dict[str, Any]:
    return torch.load(folder / f"step={step}.ckpt", weights_only=True)


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor], rtol: float) -> None:
    """Each tensor agrees to a share of its own largest value."""
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        if name == "sampler.head.bias":  # a softmax does not feel it: its gradient is nothing but rounding
            continue
        torch.testing.assert_close(tensor, second[name], rtol=rtol, atol=rtol * float(tensor.abs().max()), msg=name)
