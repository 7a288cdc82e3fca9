"""The files that docs/adding_a_method.md shows: its recipe passes `check` and its test passes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from recipes.launcher.check import check
from recipes.launcher.class_paths import folders_of
from recipes.launcher.guard import ROOT
from recipes.launcher.merge import RecipeError

PAGE = ROOT / "docs" / "adding_a_method.md"
FILE = re.compile(r"^File `([^`]+)`:\n+```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture
def method(tmp_path: Path) -> Path:
    """A folder with the page's files, named as in a folder of one's own: without ``modules.methods``."""
    for name, text in FILE.findall(PAGE.read_text()):
        place = tmp_path / re.sub(r"^(modules/methods|recipes|tests/modules/methods)/", "", name)
        place.parent.mkdir(exist_ok=True)
        text = text.replace("modules.methods.example", "example")
        place.write_text(re.sub(r"^base: ", f"base: {ROOT}/recipes/", text, flags=re.MULTILINE))
    return tmp_path


def test_the_page_shows_every_file_of_the_method(method: Path) -> None:
    files = sorted(str(p.relative_to(method)) for p in method.rglob("*") if p.is_file())
    assert files == ["example.yaml", "example/__init__.py", "example/smoothed.py", "test_example.py"]


def test_its_recipe_passes_check(method: Path) -> None:
    recipe = str(method / "example.yaml")
    merged = check(recipe, [], [], folders=folders_of([], [recipe]))
    assert merged.model.init_args.sampler.class_path == "example.smoothed.SmoothedSimilarity"
    with pytest.raises(RecipeError, match="did you mean 'radius"):
        check(recipe, [], ["--model.sampler.radious", "3"], folders=folders_of([], [recipe]))


def test_its_test_passes(method: Path) -> None:
    paths = os.pathsep.join([str(method), str(ROOT)])
    command = [sys.executable, "-m", "pytest", "-q", "-c", os.devnull, "--rootdir", str(method), "test_example.py"]
    done = subprocess.run(command, cwd=method, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 passed" in done.stdout
