"""Every run has a folder of its own, whenever it begins; the ranks of one run share theirs."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from recipes.launcher.guard import ROOT
from recipes.launcher.runs import RUN_DIR_VARIABLE, new_run_dir, newest_run

BEGIN = """
import time
from recipes.launcher.runs import new_run_dir
time.sleep({at} - time.time())
print(new_run_dir('tspo'))
"""


@pytest.fixture(autouse=True)
def outputs(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(RUN_DIR_VARIABLE, raising=False)
    return tmp_path / "outputs"


def test_two_runs_of_one_second(monkeypatch) -> None:
    monkeypatch.setattr(time, "strftime", lambda _: "20260101-000000")
    names = []
    for _ in range(3):
        names.append(new_run_dir("tspo").name)
        monkeypatch.delenv(RUN_DIR_VARIABLE)
    assert names == ["20260101-000000", "20260101-000000-2", "20260101-000000-3"]


def test_eight_processes_at_once(outputs: Path) -> None:
    env = {k: v for k, v in os.environ.items() if k != RUN_DIR_VARIABLE} | {"PYTHONPATH": str(ROOT)}
    words = [sys.executable, "-c", BEGIN.format(at=int(time.time()) + 3)]
    processes = [subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=env) for _ in range(8)]
    folders = {process.communicate(timeout=60)[0].strip() for process in processes}
    assert len(folders) == 8
    assert len(list((outputs / "tspo").iterdir())) == 8


def test_ranks_share_a_folder(monkeypatch) -> None:
    first = new_run_dir("tspo")
    assert new_run_dir("tspo") == first  # a process that DDP has started inherits the environment
    monkeypatch.delenv(RUN_DIR_VARIABLE)
    for name, value in (("SLURM_STEP_NUM_TASKS", "2"), ("SLURM_JOB_ID", "41"), ("SLURM_STEP_ID", "0")):
        monkeypatch.setenv(name, value)
    shared = new_run_dir("tspo")
    monkeypatch.delenv(RUN_DIR_VARIABLE)
    assert new_run_dir("tspo") == shared == Path("outputs/slurm/tspo-41_0")


def test_a_run_that_was_killed_while_it_renewed_its_link_is_found(outputs: Path) -> None:
    checkpoints = outputs / "tspo/20260101-000000/checkpoints"
    checkpoints.mkdir(parents=True)
    (checkpoints / "step=25.ckpt").touch()
    assert newest_run("tspo").name == "20260101-000000"
    (checkpoints / "last.ckpt").symlink_to("gone.ckpt")
    assert newest_run("tspo").name == "20260101-000000"
