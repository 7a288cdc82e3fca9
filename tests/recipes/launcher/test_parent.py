"""Nothing of a run stays behind when its first rank is killed."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from recipes.launcher.guard import ROOT

RANK = """
import time
from recipes.launcher.parent import end_with_parent
end_with_parent()
print("up", flush=True)
time.sleep(60)
"""
FIRST = f"""
import subprocess, sys, time
rank = subprocess.Popen([sys.executable, "-c", {RANK!r}], stdout=subprocess.PIPE)
rank.stdout.readline()
print(rank.pid, flush=True)
time.sleep(60)
"""


def _runs(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a process with its parent")
@pytest.mark.parametrize(("local_rank", "stays"), [("1", False), ("0", True)])
def test_a_rank_ends_with_the_one_that_started_it(local_rank: str, stays: bool) -> None:
    env = {**os.environ, "PYTHONPATH": str(ROOT), "LOCAL_RANK": local_rank}
    first = subprocess.Popen([sys.executable, "-c", FIRST], env=env, stdout=subprocess.PIPE, text=True)
    assert first.stdout is not None
    rank = int(first.stdout.readline())
    first.kill()
    first.wait()
    deadline = time.monotonic() + (1 if stays else 10)
    while _runs(rank) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert _runs(rank) == stays
    if stays:
        os.kill(rank, 9)
