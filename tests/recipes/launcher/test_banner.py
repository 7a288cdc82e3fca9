"""What is said before anything heavy is imported, and what becomes of the folder of a recipe with mistakes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from recipes.launcher.banner import announced, is_first_rank, lines
from recipes.launcher.begun_run import BegunRun
from recipes.launcher.cli import main
from recipes.launcher.guard import ROOT
from recipes.launcher.runs import RUN_DIR_VARIABLE

TSPO = str(ROOT / "recipes/tspo.yaml")


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(RUN_DIR_VARIABLE, "")  # so that what is set here is taken back
    monkeypatch.delenv(RUN_DIR_VARIABLE)
    for name in ("RANK", "SLURM_PROCID", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)


def test_it_says_what_is_about_to_run(tmp_path: Path, capsys) -> None:
    with announced(TSPO, [], ["--trainer.max_steps", "7"], None):
        (run_dir,) = (tmp_path / "outputs/tspo").iterdir()
    said = {line[:11].strip(): line[12:] for line in capsys.readouterr().out.splitlines()}
    assert said["run"] == str(run_dir.relative_to(tmp_path))
    assert said["recipe"].endswith("recipes/tspo.yaml --trainer.max_steps 7")
    assert said["stages"] == "fit, test"
    assert said["updates"] == "7"
    assert "HaystackData: encoder OpenCLIPEncoder, num_train_videos 120" in said["data"]
    assert "sampler TSPOSampler, mllm LlavaOnevision, evolve sampler" in said["model"]
    assert run_dir.is_dir()


def test_a_recipe_with_mistakes_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="no such key"):
        main(["run", TSPO, "--model.no_such_key", "1"])
    assert list((tmp_path / "outputs").iterdir()) == []
    assert RUN_DIR_VARIABLE not in os.environ


def test_a_stranger_s_name_makes_no_folder(tmp_path: Path) -> None:
    recipe = tmp_path / "odd.yaml"
    recipe.write_text("name: ../../elsewhere\nrun_dir: outputs/NEW\ndata: 3\nmodel: [x]\ntrainer: no\nstage: {a: b}\n")
    with announced(str(recipe), [], [], None):
        assert sorted(p.name for p in tmp_path.iterdir()) == ["odd.yaml"]


def test_other_ranks_are_silent(capsys, monkeypatch) -> None:
    for name in ("LOCAL_RANK", "SLURM_PROCID"):
        monkeypatch.setenv(name, "1")
        assert not is_first_rank()
        with announced(TSPO, [], ["--run_dir", "outputs/mine"], None):
            pass
        assert capsys.readouterr().out == ""
        monkeypatch.delenv(name)


def test_a_job_and_a_run_that_goes_on(capsys) -> None:
    job = {"job": {"class_path": "recipes.jobs.try_out.WriteTryOut", "init_args": {"folder": "f", "num_videos": 5}}}
    assert lines(job, Path("r"), ["x.yaml"], goes_on=False) == [
        ("recipe", "x.yaml"),
        ("run", "r"),
        ("job", "WriteTryOut: folder f, num_videos 5"),
    ]
    with announced(TSPO, [], [], BegunRun(Path("outputs/before"))):
        pass
    assert "run         outputs/before, which goes on\n" in capsys.readouterr().out


def test_what_a_checkpoint_knows_better_is_said(tmp_path: Path, capsys) -> None:
    (tmp_path / "run/checkpoints").mkdir(parents=True)
    (tmp_path / "run/checkpoints/last.ckpt").touch()
    (tmp_path / "run/recipe.yaml").write_text("model: {init_args: {num_frames: 4}}\n")
    words = ["--checkpoint", "run", "--video", "v.mp4", "--question", "What?"]
    for more, told in (([], "num_frames 4"), (["--num_frames", "3"], "num_frames 3")):
        with announced(str(ROOT / "recipes/ask.yaml"), [], [*words, *more], None):
            pass
        assert told in capsys.readouterr().out


def test_it_needs_nothing_heavy() -> None:
    """Torch takes seconds to import, and the first words come before."""
    program = (
        "import sys; import recipes.launcher.command_line; from recipes.launcher.banner import announced; "
        f"announced({TSPO!r}, [], [], None).__enter__()\n"
        "sys.exit(' '.join({'torch', 'transformers', 'lightning', 'numpy', 'matplotlib'} & sys.modules.keys()) or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("recipe")
