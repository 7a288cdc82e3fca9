"""Where these tests compute: what KAIROS_TEST_DEVICE names, else the first CUDA device; skipped where there is none."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))


def missing(name: str) -> str | None:
    """Why there is no such device; None where there is one."""
    if name != "cuda" or torch.cuda.is_available():
        return None
    return "PyTorch finds no CUDA device on this machine (`make gpu` runs these tests where there is one)"


@pytest.fixture(scope="session")
def device() -> torch.device:
    name = os.environ.get("KAIROS_TEST_DEVICE", "cuda")
    if reason := missing(name):
        pytest.skip(reason)
    return torch.device(name)
