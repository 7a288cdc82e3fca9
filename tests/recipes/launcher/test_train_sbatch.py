"""``train.sbatch`` without a cluster: programs named like SLURM's write down what they were asked, and when."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from recipes.launcher.guard import ROOT

SBATCH = """#!/bin/bash
echo "sbatch run_dir=$KAIROS_RUN_DIR procid=${SLURM_PROCID:-none} conf=$SLURM_CONF $*" >> events
[ -e full ] && exit 1
echo 18
"""
SRUN = """#!/bin/bash
trap 'echo warned >> events; warned=1' USR1
echo "srun $*" >> events
while [ -z "$warned" ] && [ ! -e finished ]; do sleep 0.05; done
[ -e ends ] && exit 0
[ -n "$warned" ] && sleep 0.5 && echo saved >> events && rm -f outputs/slurm/name-17/successor
exit 0
"""
SCANCEL = '#!/bin/bash\necho "scancel $*" >> events\n'


@pytest.fixture
def job(tmp_path: Path):
    """Starts the script as job 17; gives the process once its ranks run."""
    for name, text in (("sbatch", SBATCH), ("srun", SRUN), ("scancel", SCANCEL)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    env = {
        **os.environ,
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "SLURM_JOB_NAME": "name",
        "SLURM_JOB_ID": "17",
        "SLURM_JOB_NUM_NODES": "1",
        "SLURM_PROCID": "0",
        "SLURM_CONF": "/etc/slurm.conf",
        "KAIROS_SBATCH": "--nodes=2 --dependency=afterok:3 '--comment=two words'",
    }
    env.pop("KAIROS_RUN_DIR", None)
    started = []

    def start(**more: str) -> subprocess.Popen:
        words = ["bash", str(ROOT / "recipes/launcher/slurm/train.sbatch"), "recipes/tspo.yaml", "--name", "a b"]
        started.append(subprocess.Popen(words, cwd=tmp_path, env={**env, **more}, start_new_session=True))
        wait_for(lambda: "srun" in events(tmp_path))
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def events(folder: Path) -> str:
    return (folder / "events").read_text() if (folder / "events").is_file() else ""


def wait_for(what) -> None:
    deadline = time.time() + 20
    while not what():
        assert time.time() < deadline
        time.sleep(0.02)


def test_the_next_job_is_handed_in_before_anything_is_saved(job, tmp_path: Path) -> None:
    process = job()
    process.send_signal(signal.SIGUSR1)
    assert process.wait(20) == 0
    srun, sbatch, *rest = events(tmp_path).splitlines()
    assert srun.endswith("--run_dir outputs/slurm/name-17 --resume auto --requeue")
    assert sbatch.startswith("sbatch run_dir=outputs/slurm/name-17 procid=none conf=/etc/slurm.conf")
    assert (
        "--nodes=2 --dependency=afterok:3 --comment=two words --dependency=afterany:17" in sbatch
    )  # the last one wins
    assert sbatch.endswith("train.sbatch recipes/tspo.yaml --name a b")
    assert rest == ["warned", "saved"]  # and taken up: not cancelled


def test_a_save_that_is_cut_off_leaves_the_next_job_queued(job, tmp_path: Path) -> None:
    process = job()
    process.send_signal(signal.SIGUSR1)
    wait_for(lambda: "warned" in events(tmp_path))
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert "sbatch" in events(tmp_path)
    assert not {"saved", "scancel 18"} & set(events(tmp_path).splitlines())


def test_where_no_second_job_is_taken_the_ranks_are_warned_all_the_same(job, tmp_path: Path) -> None:
    (tmp_path / "full").touch()
    process = job()
    process.send_signal(signal.SIGUSR1)
    assert process.wait(20) == 0
    assert "saved" in events(tmp_path)
    assert not (tmp_path / "outputs/slurm/name-17/successor").exists()  # so that the ranks ask for this one again


def test_a_run_that_ends_in_time_needs_no_next_job(job, tmp_path: Path) -> None:
    (tmp_path / "ends").touch()
    process = job()
    process.send_signal(signal.SIGUSR1)
    assert process.wait(20) == 0
    assert events(tmp_path).splitlines()[-1] == "scancel 18"


def test_the_next_job_goes_on_in_the_first_ones_folder(job, tmp_path: Path) -> None:
    process = job(SLURM_JOB_ID="18", KAIROS_RUN_DIR="outputs/slurm/name-17")
    (tmp_path / "finished").touch()
    assert process.wait(20) == 0
    assert "--run_dir outputs/slurm/name-17 --resume auto" in events(tmp_path)
