"""``last:NAME``: the newest checkpoint of a name, here or in a job's folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from recipes.launcher.runs import newest_run, resolve_checkpoint


@pytest.fixture
def outputs(tmp_path: Path, monkeypatch):
    """Makes run folders below ``outputs`` whose checkpoints are a second apart, in the order they are made."""
    monkeypatch.chdir(tmp_path)
    made: list[Path] = []

    def make(run_dir: str, name: str | None = None) -> Path:
        checkpoint = Path("outputs") / run_dir / "checkpoints/last.ckpt"
        checkpoint.parent.mkdir(parents=True)
        checkpoint.touch()
        made.append(checkpoint)
        os.utime(checkpoint, (1_000_000 + len(made),) * 2)
        if name is not None:
            (checkpoint.parent.parent / "recipe.yaml").write_text(f"name: {name}\nstage: fit\n")
        return checkpoint.parent.parent

    return make


def test_the_newest_wins_wherever_it_ran(outputs) -> None:
    outputs("msjoe_pretrain/20260101-000000")
    job = outputs("slurm/msjoe_pretrain-41")
    assert newest_run("msjoe_pretrain") == job
    assert resolve_checkpoint("last:msjoe_pretrain") == job / "checkpoints/last.ckpt"
    later = outputs("msjoe_pretrain/20260102-000000")
    assert newest_run("msjoe_pretrain") == later


def test_jobs_of_other_names_are_not_taken(outputs) -> None:
    outputs("slurm/msjoe-41")
    outputs("slurm/msjoe-pretrain-42")
    assert newest_run("msjoe").name == "msjoe-41"
    with pytest.raises(ValueError, match=r"no run of 'pretrain' .*slurm/pretrain-\*"):
        newest_run("pretrain")


def test_a_job_that_was_called_otherwise_is_known_by_its_recipe(outputs) -> None:
    job = outputs("slurm/kairos-43", name="tspo")
    outputs("slurm/kairos-44", name="tspo_official")
    assert newest_run("tspo") == job
