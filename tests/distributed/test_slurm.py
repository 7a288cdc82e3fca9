"""A training as a job on a real two-node SLURM: warned, queued again, killed, it ends as if nothing had happened."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from slurm_cluster import LocalCluster, missing

from recipes.launcher.guard import ROOT

pytestmark = pytest.mark.long
WEIGHTS = [
    "--data.encoder.model",
    f"local-dir:{ROOT}/recipes/haystack/weights/clip",
    "--model.mllm.path",
    f"{ROOT}/recipes/haystack/weights/vlm",
]
RECIPE = [
    str(ROOT / "recipes/tspo.yaml"),
    "--overlay",
    str(ROOT / "recipes/overlays/smoke.yaml"),
    "--overlay",
    str(ROOT / "recipes/overlays/ddp.yaml"),
    *WEIGHTS,
    "--data.batch_size",
    "2",
    "--trainer.accelerator",
    "cpu",
    "--trainer.max_steps",
    "200",
    "--trainer.val_check_interval",
    "100",
]


def lightning(*words: str, cwd: Path, check: bool = True, **env: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "recipes", *words],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "COLUMNS": "200", **env},
    )
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def cluster(tmp_path_factory) -> Iterator[LocalCluster]:
    if (reason := missing()) is not None:
        pytest.skip(reason)
    with LocalCluster(tmp_path_factory.mktemp("slurm")) as running:
        yield running


@pytest.fixture(scope="module")
def cwd(tmp_path_factory) -> Path:
    """Where jobs are handed in, with a program that stands for the installed ``lightning`` and the data written."""
    folder = tmp_path_factory.mktemp("jobs")
    program = folder / "lightning"
    program.write_text(f'#!/bin/bash\nexport PYTHONPATH={ROOT}\nexec {sys.executable} -m recipes "$@"\n')
    program.chmod(0o755)
    lightning("run", *RECIPE, "--run_dir", "outputs/whole", "--trainer.devices", "2", cwd=folder)
    return folder


def wait_for(what, seconds: float, cluster: LocalCluster, log: Path) -> None:
    deadline = time.time() + seconds
    while not what():
        text = log.read_text()[-4000:] if log.is_file() else cluster.logs()
        assert time.time() < deadline, text
        time.sleep(0.3)


def test_warned_queued_again_killed_and_resumed(cluster: LocalCluster, cwd: Path) -> None:
    env = {"MASTER_ADDR": "127.0.0.1", "KAIROS": str(cwd / "lightning")}  # both nodes are this host
    said = lightning("submit", *RECIPE, "--nodes", "2", "--name", "tspo", "--sbatch=--mem=500", cwd=cwd, **env)
    job = re.search(r"job +(\d+)", said)[1]
    run_dir, log = cwd / f"outputs/slurm/tspo-{job}", cwd / f"outputs/slurm/tspo-{job}.log"
    curve, checkpoint = run_dir / "curve.csv", run_dir / "checkpoints/last.ckpt"

    wait_for(checkpoint.is_file, 240, cluster, log)
    cluster.run("scancel", "--signal=USR1", job)  # what SLURM sends before the time is up
    wait_for(lambda: restarts(cluster, job) == 1, 60, cluster, log)
    warned_at = step(checkpoint)
    assert 0 < warned_at < 200
    assert warned_at % 25  # saved when it was warned, not only every 25 steps

    make_eligible(cluster, job)
    wait_for(lambda: step(checkpoint) > warned_at, 240, cluster, log)
    cluster.run("scontrol", "requeue", job)  # kills it, wherever it is
    wait_for(lambda: restarts(cluster, job) == 2, 60, cluster, log)
    assert step(checkpoint) < 200
    make_eligible(cluster, job)
    wait_for(lambda: cluster.state(job) == "COMPLETED", 300, cluster, log)

    whole = cwd / "outputs/whole"
    assert json.loads((run_dir / "test_summary.json").read_text()) == json.loads(
        (whole / "test_summary.json").read_text()
    )
    assert curve.read_text() == (whole / "curve.csv").read_text()
    weights = [torch.load(r / "checkpoints/last.ckpt", weights_only=True)["state_dict"] for r in (run_dir, whole)]
    assert all(torch.equal(weights[0][n], weights[1][n]) for n in weights[1])


@pytest.mark.long
def test_a_save_that_is_cut_off_leaves_the_job_queued_again(cluster: LocalCluster, cwd: Path) -> None:
    """Warned as SLURM warns (the batch script), then every rank is killed before it can save."""
    env = {"MASTER_ADDR": "127.0.0.1", "KAIROS": str(cwd / "lightning")}
    said = lightning(
        "submit",
        *RECIPE,
        "--nodes",
        "2",
        "--name",
        "cut",
        "--sbatch=--mem=500",
        "--time",
        "00:30:00",
        "--warn-before",
        "60",
        cwd=cwd,
        **env,
    )
    job = re.search(r"job +(\d+)", said)[1]
    run_dir, log = cwd / f"outputs/slurm/cut-{job}", cwd / f"outputs/slurm/cut-{job}.log"
    wait_for((run_dir / "checkpoints/last.ckpt").is_file, 240, cluster, log)
    cluster.run("scancel", "--signal=STOP", job)  # the steps alone: no rank gets to its save
    cluster.run("scancel", "--batch", "--signal=USR1", job)
    wait_for(lambda: "goes on when" in log.read_text(), 60, cluster, log)
    cluster.run("scancel", "--signal=KILL", job)  # as the time limit does
    following = re.search(r"job (\d+) goes on", log.read_text())[1]
    assert following != job
    wait_for(lambda: cluster.state(following) == "COMPLETED", 300, cluster, cwd / f"outputs/slurm/cut-{following}.log")
    assert not (cwd / f"outputs/slurm/cut-{following}").exists()  # it went on in the first one's folder
    assert (run_dir / "curve.csv").read_text() == (cwd / "outputs/whole/curve.csv").read_text()


def step(checkpoint: Path) -> int:
    try:
        return torch.load(checkpoint, weights_only=True)["global_step"]
    except (RuntimeError, OSError, EOFError):  # it is just being written
        return -1


def restarts(cluster: LocalCluster, job: str) -> int:
    found = re.search(r"Restarts=(\d+)", cluster.run("scontrol", "show", "job", job))
    return int(found[1]) if found else 0


def make_eligible(cluster: LocalCluster, job: str) -> None:
    """SLURM keeps a job that was queued again waiting for two minutes."""
    deadline = time.time() + 60
    while cluster.state(job) == "PENDING" and time.time() < deadline:
        cluster.run("scontrol", "update", f"jobid={job}", "StartTime=now")
        time.sleep(1)


def test_extraction_is_shared_out_to_an_array(cluster: LocalCluster, cwd: Path) -> None:
    recipe = cwd / "extract.yaml"
    recipe.write_text(f"""
name: extract
job:
  class_path: recipes.jobs.extract.ExtractFeatures
  init_args:
    splits: [train, test]
    data:
      class_path: datamodules.haystack.datamodule.HaystackData
      init_args:
        world: {{seed: 0, duration_s: 100, fps: 2, size_px: 64, event_duration_s: [2.0, 2.5]}}
        num_train_videos: 2
        num_val_videos: 1
        num_test_videos: 2
        feature_dir: data/array
        encoder:
          class_path: modules.encoders.open_clip.OpenCLIPEncoder
          init_args: {{model: "local-dir:{ROOT}/recipes/haystack/weights/clip"}}
""")
    said = lightning(
        "submit",
        str(recipe),
        "--array",
        "2",
        "--name",
        "extract",
        "--sbatch=--mem=500",
        cwd=cwd,
        KAIROS=str(cwd / "lightning"),
    )
    job = re.search(r"job +(\d+)", said)[1]
    logs = [cwd / f"outputs/slurm/extract-{job}_{n}.log" for n in (0, 1)]
    wait_for(lambda: all(p.is_file() and "store" in p.read_text() for p in logs), 120, cluster, logs[0])
    wait_for(lambda: not cluster.run("squeue", "-h"), 60, cluster, logs[0])
    videos = [int(re.search(r"videos +(\d+)", p.read_text())[1]) for p in logs]
    assert sum(videos) == 4
    assert all(n > 0 for n in videos)
