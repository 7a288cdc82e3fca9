"""A run that stands still ends itself and says where it stood; one that works is left alone."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from recipes.launcher.guard import ROOT

_RUN = """
import threading, time
from types import SimpleNamespace
from callbacks.watchdog import Watchdog
trainer = SimpleNamespace(global_rank=1)
watchdog = Watchdog(run_dir={run_dir!r}, timeout_s=1.0)
watchdog.on_fit_start(trainer)
{work}
watchdog.on_fit_end(trainer)
print("done")
"""


def run(tmp_path: Path, work: str) -> subprocess.CompletedProcess:
    code = _RUN.format(run_dir=str(tmp_path), work=textwrap.dedent(work))
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)


def test_a_rank_that_waits_for_ever_is_stopped(tmp_path: Path) -> None:
    done = run(tmp_path, "def waits_for_the_others():\n    threading.Event().wait()\nwaits_for_the_others()")
    assert done.returncode == 1
    stacks = (tmp_path / "stalled/rank_1.txt").read_text()
    assert "Rank 1: no batch ended for 1 s" in stacks
    assert "waits_for_the_others" in stacks


@pytest.mark.long
def test_a_rank_at_work_is_not(tmp_path: Path) -> None:
    done = run(tmp_path, "for _ in range(4):\n    time.sleep(0.5)\n    watchdog.on_train_batch_end(trainer)")
    assert done.returncode == 0
    assert "done" in done.stdout
    assert not list((tmp_path / "stalled").iterdir())
