"""The files that docs/extend.md shows, as they stand: `check` reads them, and a training of two steps runs them all."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from datamodules.haystack.questions import ask
from datamodules.haystack.video_writing import write_video
from recipes.launcher.check import check
from recipes.launcher.class_paths import folders_of
from recipes.launcher.guard import ROOT
from recipes.launcher.mistakes import RecipeError

PAGE = ROOT / "docs" / "extend.md"
FILE = re.compile(r"^File `([^`]+)`:\n+```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NAMES = ["mine.yaml", "my_callback.py", "my_mllm.py", "my_reward.py", "my_sampler.py", "my_scorer.py", "my_source.py"]
STEPS = [
    "--trainer.max_steps",
    "2",
    "--trainer.val_check_interval",
    "2",
    "--model.optimizer.accumulate",
    "1",
    "--trainer.logger",
    "false",
    "--run_dir",
    "run",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page's files in a folder of their own."""
    folder = tmp_path_factory.mktemp("my_folder")
    for name, text in FILE.findall(PAGE.read_text()):
        (folder / name).write_text(text)
    return folder


def test_the_page_shows_every_file(folder: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == NAMES


def test_the_recipe_passes_check_and_its_slips_are_told(folder: Path) -> None:
    recipe = str(folder / "mine.yaml")
    check(recipe, [], [], files=False, folders=folders_of([], [recipe]))
    with pytest.raises(RecipeError, match="has no class 'Projektd'; did you mean 'Projected'"):
        check(
            recipe,
            [],
            ["--model.sampler.class_path", "my_sampler.Projektd"],
            files=False,
            folders=folders_of([], [recipe]),
        )
    words = ["--trainer.callbacks.evaluation_report.scorers", "[{class_path: my_reward.Brevity}]"]
    with pytest.raises(RecipeError, match=r"my_reward\.Brevity is not a Scorer"):
        check(recipe, [], words, files=False, folders=folders_of([], [recipe]))


def lightning(cwd: Path, *words: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "recipes", *words],
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=180,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )


@pytest.fixture(scope="module")
def workplace(folder: Path, short_world, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another folder, with two videos and questions in the form of the page's source."""
    place = tmp_path_factory.mktemp("workplace")
    (place / "clips").mkdir()
    for n, name in enumerate(("train", "test")):
        write_video(place / "clips" / f"{name}.mp4", short_world, "test", n)
        rows = []
        for q in ask(short_world.plan("test", n), "test", "", {"needle": 2}, np.random.default_rng(n)):
            wrong = [option for i, option in enumerate(q.options) if i != q.answer_index]
            rows.append({"clip": f"{name}.mp4", "q": q.question, "a": [q.answer, *wrong]})
        (place / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    own = "data: {init_args: {encoder: {class_path: modules.encoders.open_clip.OpenCLIPEncoder, init_args: {model: "
    (place / "small.yaml").write_text(f'{own}"local-dir:recipes/haystack/weights/clip"}}}}}}}}\n')
    return place


@pytest.mark.slow
def test_two_steps_with_all_of_them(folder: Path, workplace: Path) -> None:
    words = ["--overlay", "small.yaml", "--trainer.accelerator", "cpu", *STEPS]
    done = lightning(workplace, "run", str(folder / "mine.yaml"), *words)
    assert done.returncode == 0, done.stdout + done.stderr
    for name in ("my_sampler.Projected", "my_mllm.NearestColour", "my_reward.Brevity", "my_scorer.NamesOne"):
        assert f"{name} is code of {folder}" in done.stderr
    assert "names-one@1, our_tool/test" in " ".join(done.stdout.split())
    assert len((workplace / "run/rewards.txt").read_text().splitlines()) == 2


@pytest.mark.slow
def test_a_reward_that_raises_says_where_and_keeps_its_traceback(folder: Path, workplace: Path, tmp_path: Path) -> None:
    broken = 'if True:\n            raise KeyError("no such word")\n        return torch'
    for name in NAMES:
        (tmp_path / name).write_text(
            (folder / name).read_text().replace("return torch.tensor([[1.0", f"{broken}.tensor([[1.0")
        )
    words = ["--overlay", "small.yaml", "--trainer.accelerator", "cpu", *STEPS, "--run_dir", "run_2"]
    done = lightning(workplace, "run", str(tmp_path / "mine.yaml"), *words)
    assert done.returncode == 1
    assert re.search(
        r"reward 'brevity' raised KeyError\('no such word'\) on question .*train\.mp4'}, answer '\w+'", done.stderr
    )
    assert re.search(rf'File "{tmp_path}/my_reward.py", line \d+, in __call__', done.stderr)
    assert "KeyError: 'no such word'" in done.stderr
