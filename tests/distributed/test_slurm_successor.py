"""``train.sbatch`` on a real SLURM: the next job is in the queue while the ranks of this one are still at work.

A few lines of shell stand for the training, so that this is about the script, its signal and its jobs alone.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from slurm_cluster import LocalCluster, missing

from recipes.launcher.command_line import build_parser
from recipes.launcher.submit import submit

pytestmark = pytest.mark.long
TRAINING = """#!/bin/bash
trap 'echo "$SLURM_JOB_ID $SLURM_PROCID warned" >> events' USR1
echo "$SLURM_JOB_ID $SLURM_PROCID begins: $*" >> events
[ -e first ] && exit 0
touch first
while true; do sleep 0.1; done
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory) -> Iterator[LocalCluster]:
    if (reason := missing()) is not None:
        pytest.skip(reason)
    with LocalCluster(tmp_path_factory.mktemp("slurm")) as running:
        yield running


def test_a_job_that_is_cut_off_after_its_warning_goes_on_in_another(
    cluster: LocalCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    program, events = tmp_path / "training", tmp_path / "events"
    program.write_text(TRAINING)
    program.chmod(0o755)
    monkeypatch.setenv("KAIROS", str(program))
    words = [
        "submit",
        "recipe.yaml",
        "--name",
        "cut",
        "--time",
        "00:30:00",
        "--warn-before",
        "60",
        "--sbatch=--mem=100",
    ]
    options, overrides = build_parser().parse_known_args([*words, "--model.num_frames", "4"])
    job = submit(options, overrides).split()[1]
    folder = f"outputs/slurm/cut-{job}"

    wait_for(lambda: events.is_file(), cluster)
    cluster.run("scancel", "--batch", "--signal=USR1", job)  # what --signal=B:USR1@60 does
    wait_for(lambda: f"{job} 0 warned" in events.read_text(), cluster)
    following = (tmp_path / folder / "successor").read_text().strip()
    assert cluster.state(job) == "RUNNING"  # nothing has been saved yet, and the next one waits already
    assert cluster.state(following) == "PENDING"
    assert f"afterany:{job}" in cluster.run("scontrol", "show", "job", following)

    cluster.run("scancel", "--signal=KILL", job)  # the ranks, as the time limit does
    wait_for(lambda: cluster.state(following) == "COMPLETED", cluster)
    begun = [line for line in events.read_text().splitlines() if line.startswith(f"{following} 0 begins")]
    assert len(begun) == 1
    assert "run recipe.yaml --model.num_frames 4" in begun[0]
    assert begun[0].endswith(f"--run_dir {folder} --resume auto --requeue")  # the first one's folder


def wait_for(what, cluster: LocalCluster) -> None:
    deadline = time.time() + 180
    while not what():
        assert time.time() < deadline, cluster.run("squeue") + cluster.logs()
        time.sleep(0.3)
