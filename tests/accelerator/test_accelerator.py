"""Everything that computes, on an accelerator that is not there (`phantom.cpp`), in processes of its own.

A process is needed because PyTorch has room for one such device, and whoever asks for "the accelerator" then finds it.
What runs there, and how to run it by hand: docs/extend.md, "On another device".
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import phantom
import pytest

from recipes.launcher.guard import ROOT

HERE = Path(__file__).parent
GROUPS = {
    "parts": ["test_phantom_device.py", "test_parts_on_device.py", "test_mllms_on_device.py", "test_step_traffic.py"],
    "recipes": ["test_recipes_on_device.py", "test_python_on_device.py"],
}
CONTRACTS = {
    "modules/mllms/test_mllm_families.py": [],
    "recipes/test_real_recipes.py": ["-k", "paper_recipe or eval_recipes or both_stages"],
}


def on_the_phantom(tmp_path: Path, *words: str) -> None:
    """Runs pytest with the device; what failed there fails here.

    Raises:
        AssertionError: with the end of that process's report.
    """
    if reason := phantom.missing():
        pytest.skip(reason)
    phantom.build()
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--basetemp", str(tmp_path / "device"), *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=1500,
        env={**inherited, "KAIROS_TEST_DEVICE": phantom.NAME, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, f"{done.stdout[-8000:]}\n{done.stderr[-2000:]}"


@pytest.mark.slow
@pytest.mark.parametrize("group", ["parts", pytest.param("recipes", marks=pytest.mark.long)])
def test_on_the_phantom(group: str, tmp_path: Path) -> None:
    on_the_phantom(tmp_path, *(str(HERE / "device" / file) for file in GROUPS[group]))


@pytest.mark.long
def test_the_rest_on_the_phantom(tmp_path: Path) -> None:
    on_the_phantom(tmp_path, "-m", "long", str(HERE / "device"))


@pytest.mark.long
@pytest.mark.parametrize("file", CONTRACTS)
def test_contracts_on_the_phantom(file: str, tmp_path: Path) -> None:
    on_the_phantom(tmp_path, str(HERE.parent / file), *CONTRACTS[file])
