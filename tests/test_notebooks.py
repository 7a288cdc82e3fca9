"""The notebooks run from top to bottom, in a process of their own, and hold no outputs.

Nothing of Jupyter is needed: cells are run one after another as a kernel would, and what a cell ends with is asked for
its picture, as a notebook would ask.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from recipes.launcher.guard import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
KERNEL = """
import ast, json, sys
import matplotlib
matplotlib.use("Agg")
cells = json.load(open(sys.argv[1]))["cells"]
names = {"__name__": "__main__"}
for cell in cells:
    if cell["cell_type"] != "code":
        continue
    tree = ast.parse("".join(cell["source"]))
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, cell["id"], "exec"), names)
    if last is not None:
        value = eval(compile(ast.Expression(last.value), cell["id"], "eval"), names)
        if value is not None:
            page = getattr(value, "_repr_html_", lambda: repr(value))()
            print("shown", cell["id"], len(page))
"""


def run_cells(notebook: Path, folder: Path, **variables: str) -> str:
    """What a notebook prints, run in a folder."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "KAIROS_NOTEBOOK_FOLDER": str(folder), **variables}
    finished = subprocess.run(
        [sys.executable, "-c", KERNEL, str(notebook)],
        cwd=notebook.parent,
        env={**environment, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert finished.returncode == 0, finished.stderr[-3000:]
    assert not finished.stderr, finished.stderr[-3000:]  # no stray progress, no warnings
    return finished.stdout


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_clean(notebook: Path) -> None:
    content: dict[str, Any] = json.loads(notebook.read_text())
    assert (content["nbformat"], content["nbformat_minor"]) == (4, 5)
    assert set(content["metadata"]) == {"kernelspec", "language_info"}
    ids = [cell["id"] for cell in content["cells"]]
    assert len(set(ids)) == len(ids)
    assert content["cells"][0]["cell_type"] == "markdown"
    for cell in content["cells"]:
        assert "".join(cell["source"]).strip()
        if cell["cell_type"] == "code":
            assert (cell["outputs"], cell["execution_count"]) == ([], None)


@pytest.mark.long
def test_select_and_look(tmp_path: Path) -> None:
    printed = run_cells(ROOT / "notebooks/select_and_look.ipynb", tmp_path)
    assert "right answer:" in printed
    assert len([line for line in printed.splitlines() if line.startswith("shown")]) == 4


@pytest.mark.long
def test_train_and_plot(tmp_path: Path) -> None:
    words = (
        "--trainer.max_steps 2 --trainer.val_check_interval 2 --data.num_train_videos 2 --data.num_val_videos 1 "
        "--data.num_test_videos 2 --data.world.duration_s 100 --data.world.event_duration_s [2.0,2.5] "
        "--data.batch_size 4 --model.grpo.num_generations 4"
    )
    printed = run_cells(ROOT / "notebooks/train_and_plot.ipynb", tmp_path, KAIROS_NOTEBOOK_WORDS=words)
    assert "right answer:" in printed
    assert list((tmp_path / "outputs/notebook").glob("*/checkpoints/last.ckpt"))
