"""Runs that are killed and resumed, and runs side by side, against one that nobody disturbs: equal to the last bit."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from recipes.launcher.guard import ROOT

sys.path.append(str(ROOT / "tests" / "fuzz"))
from same_run import differences

RUN = ["run", str(ROOT / "recipes/tspo.yaml"), "--overlay", str(ROOT / "tests/fuzz/kills.yaml")]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "COLUMNS": "200"}


def kills(place: Path, *words: str) -> str:
    """What the script says; it ends with 0 only where every run is exact and nothing stayed behind."""
    command = [sys.executable, str(ROOT / "tests/fuzz/kills.py"), *words, "--out", str(place / "runs")]
    done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, check=False)
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    return done.stdout


@pytest.mark.long
def test_a_run_killed_while_it_writes_a_checkpoint_is_the_same_run(tmp_path: Path) -> None:
    assert "kills at: writing a checkpoint" in kills(tmp_path, "--phase", "writing a checkpoint")


@pytest.mark.long
def test_a_run_killed_at_any_moment_is_the_same_run(tmp_path: Path) -> None:
    kills(tmp_path, "--phase", "all")


@pytest.mark.long
@pytest.mark.parametrize("who", ["one", "all"])
def test_two_ranks_killed_at_random_are_the_same_run(tmp_path: Path, who: str) -> None:
    kills(tmp_path, "--kills", "3", "--processes", "2", "--kill", who)


@pytest.mark.long
def test_two_runs_that_fill_one_cache_at_once_are_each_the_run_alone(tmp_path: Path) -> None:
    """They write the same videos and the same features in the same folders."""
    together, alone = tmp_path / "together", tmp_path / "alone"
    places = {"first": together, "second": together, "third": alone}
    for cwd in (together, alone):
        cwd.mkdir()
    running = {
        name: subprocess.Popen(
            [sys.executable, "-m", "recipes", *RUN, "--run_dir", f"outputs/kills/{name}"],
            cwd=cwd,
            env=ENVIRONMENT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for name, cwd in places.items()
    }
    for process in running.values():
        output, _ = process.communicate(timeout=600)
        assert process.returncode == 0, output[-3000:]
    for name in ("first", "second"):
        assert differences(alone / "outputs/kills/third", together / f"outputs/kills/{name}") == []
    assert not list(tmp_path.rglob("*.partial"))
