"""``lightning`` as a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from recipes.launcher.guard import ROOT


def start(cwd: Path, *words: str) -> subprocess.Popen:
    """Begins a command of this repository in a folder, on one thread, in a session of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "recipes", *words],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "COLUMNS": "200"},
        start_new_session=True,
    )
