"""What an interrupted run leaves and says: real runs, in real subprocesses, and the words by themselves."""

from __future__ import annotations

import json
import os
import random
import shlex
import signal
import subprocess
import time
from pathlib import Path

import pytest
from recipe_commands import start

from callbacks.interruption import Interruption
from recipes.launcher.stopping import account

SMOKE = [
    "--overlay",
    "recipes/overlays/smoke.yaml",
    "--data.num_test_videos",
    "1",
    "--trainer.val_check_interval",
    "50",
]
DDP = ["--overlay", "recipes/overlays/cpu_ddp.yaml", "--data.batch_size", "2"]


def wait_for(process: subprocess.Popen, what) -> None:
    deadline = time.time() + 200
    while not what():
        assert process.poll() is None, process.communicate()[0][-3000:]
        assert time.time() < deadline
        time.sleep(0.05)


def end_of(process: subprocess.Popen) -> str:
    output, _ = process.communicate(timeout=120)
    assert "Traceback" not in output, output[-3000:]
    return output


def at_work(cwd: Path, *words: str) -> tuple[subprocess.Popen, Path]:
    """A training that would take hours, in its updates, and its folder."""
    long = ["--run_dir", "outputs/stopped", "--trainer.max_steps", "100000"]
    process = start(cwd, "run", "recipes/tspo.yaml", *SMOKE, *words, *long)
    wait_for(process, lambda: list((cwd / "outputs/stopped/images").glob("*.png")))
    return process, cwd / "outputs/stopped"


def left_of(process: subprocess.Popen) -> list[str]:
    """Processes of its session that still run; those that end at this moment are given a while."""
    for _ in range(50):
        found = subprocess.run(["ps", "-o", "pid=,args=", "-s", str(process.pid)], capture_output=True, text=True)
        if not found.stdout.strip():
            return []
        time.sleep(0.1)
    return found.stdout.splitlines()


@pytest.mark.long
def test_sigterm_saves_says_how_to_go_on_and_ends_with_143(tmp_path: Path) -> None:
    process, run_dir = at_work(tmp_path)
    process.send_signal(signal.SIGTERM)
    output = end_of(process)
    assert process.returncode == 143, output[-2000:]
    assert not (run_dir / "test_summary.json").exists()
    saved = run_dir / "checkpoints/warned.ckpt"
    assert f"saved {saved.relative_to(tmp_path)}" in output
    (line,) = [line for line in output.splitlines() if line.startswith("go on ")]
    words = shlex.split(line)[3:]
    import torch

    steps = torch.load(saved, weights_only=True)["global_step"]
    going_on = start(tmp_path, *words, "--trainer.max_steps", str(steps + 2), "--allow-changes")
    output = end_of(going_on)
    assert going_on.returncode == 0, output[-2000:]
    assert json.loads((run_dir / "test_summary.json").read_text())
    curve = (run_dir / "curve.csv").read_text().splitlines()
    assert [line for line in curve if "reward/total" in line][-1].startswith(f"{steps + 2},")
    assert left_of(process) == []


@pytest.mark.long
def test_it_saves_although_the_ctrl_c_has_ended_whoever_read_what_it_said(tmp_path: Path) -> None:
    process, run_dir = at_work(tmp_path)  # as under `| tee log.txt`
    assert process.stdout is not None
    process.stdout.close()
    time.sleep(2)  # it prints on
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(120) == 130
    assert (run_dir / "checkpoints/last.ckpt").readlink() == Path("warned.ckpt")


@pytest.mark.long
@pytest.mark.parametrize("ddp", [False, True], ids=["alone", "two ranks"])
@pytest.mark.parametrize(
    ("signum", "whom"),
    [(signal.SIGINT, "all"), (signal.SIGTERM, "all"), (signal.SIGTERM, "one"), (signal.SIGINT, "one")],
)
def test_each_signal_to_one_process_or_to_all(tmp_path: Path, signum: signal.Signals, whom: str, ddp: bool) -> None:
    process, run_dir = at_work(tmp_path, *(DDP if ddp else []))
    if whom == "all":
        os.killpg(process.pid, signum)
    else:
        process.send_signal(signum)
    output = end_of(process)
    assert process.returncode == 128 + signum, output[-2000:]
    assert output.count("go on       lightning run") == 1
    assert (run_dir / "checkpoints/last.ckpt").readlink() == Path("warned.ckpt")
    assert left_of(process) == []


@pytest.mark.long
@pytest.mark.parametrize("ddp", [False, True], ids=["alone", "two ranks"])
def test_a_second_ctrl_c_ends_at_once(tmp_path: Path, ddp: bool) -> None:
    process, _ = at_work(tmp_path, *(DDP if ddp else []), "--model.grpo.num_generations", "512")
    for _ in range(2):
        os.killpg(process.pid, signal.SIGINT)
        time.sleep(0.05)
    started = time.perf_counter()
    end_of(process)
    assert process.returncode == 130
    assert time.perf_counter() - started < 5
    assert left_of(process) == []


@pytest.mark.long
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_test_stage_ends_where_it_is(tmp_path: Path, signum: signal.Signals) -> None:
    words = ["--stage", "test", "--data.num_test_videos", "60", "--run_dir", "outputs/tested"]
    process = start(tmp_path, "run", "recipes/tspo.yaml", *SMOKE, *words)
    wait_for(process, lambda: (tmp_path / "outputs/tested/recipe.yaml").is_file())
    time.sleep(1)
    os.killpg(process.pid, signum)
    output = end_of(process)
    assert process.returncode == 128 + signum, output[-2000:]
    assert "there is no checkpoint yet" in output
    assert not (tmp_path / "outputs/tested/test_summary.json").exists()
    assert left_of(process) == []


@pytest.mark.long
@pytest.mark.parametrize("times", [1, 2])
def test_videos_that_are_being_written_are_finished_unless_it_is_told_twice(tmp_path: Path, times: int) -> None:
    words = ["run", "recipes/tspo.yaml", "--data.num_train_videos", "60", "--run_dir", "outputs/writing"]
    process = start(tmp_path, *words)
    wait_for(process, lambda: list((tmp_path / "data").rglob("train/*.partial")))
    for _ in range(times):
        os.killpg(process.pid, signal.SIGINT)
        time.sleep(0.2)
    output = end_of(process)
    assert process.returncode == 130, output[-2000:]
    assert output.count("SIGINT: stops once the files in hand are whole; once more ends at once") == 1
    assert left_of(process) == []
    if times == 1:
        assert "go on       lightning run recipes/tspo.yaml --data.num_train_videos 60" in output
        assert list((tmp_path / "data").rglob("*.mp4"))
        assert not list((tmp_path / "data").rglob("*.partial"))


@pytest.mark.long
def test_a_sweep_has_its_run_stop_in_order(tmp_path: Path) -> None:
    recipe = tmp_path / "sweep.yaml"
    recipe.write_text(f"""
name: sweep
job:
  class_path: recipes.jobs.sweep.Sweep
  init_args:
    variants:
      a:
        recipe: recipes/tspo.yaml
        overlays: [recipes/overlays/smoke.yaml]
        overrides: {{trainer.max_steps: 100000, trainer.val_check_interval: 1000}}
    reference: a
    seeds: [0]
    out: {tmp_path / "runs"}
""")
    process, run_dir = start(tmp_path, "run", str(recipe)), tmp_path / "runs/a_s0"
    wait_for(process, lambda: list((run_dir / "images").glob("*.png")))
    os.killpg(process.pid, signal.SIGINT)
    output = end_of(process)
    assert process.returncode == 130, output[-2000:]
    assert (run_dir / "checkpoints/last.ckpt").readlink() == Path("warned.ckpt")
    assert "stopped     by SIGTERM after update" in (run_dir / "log.txt").read_text()
    assert left_of(process) == []


@pytest.mark.long
@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM])
def test_two_ranks_go_on_to_the_files_of_an_undisturbed_run(tmp_path: Path, signum: signal.Signals) -> None:
    often = {"model_checkpoint.every_n_train_steps": "2", "rollout_table.every_n_steps": "1"}
    words = [
        "run",
        "recipes/tspo.yaml",
        *SMOKE,
        *DDP,
        "--trainer.max_steps",
        "40",
        "--trainer.val_check_interval",
        "10",
    ]
    words += [word for key, value in often.items() for word in (f"--trainer.callbacks.{key}", value)]
    whole = start(tmp_path, *words, "--run_dir", "outputs/whole")
    end_of(whole)
    process = start(tmp_path, *words, "--run_dir", "outputs/stopped")
    wait_for(process, lambda: (tmp_path / "outputs/stopped/checkpoints/last.ckpt").is_file())
    time.sleep(random.uniform(0.0, 2.0))
    os.killpg(process.pid, signum) if signum == signal.SIGKILL else process.send_signal(signum)
    end_of(process)
    assert process.returncode == (-signal.SIGKILL if signum == signal.SIGKILL else 143)
    end_of(resumed := start(tmp_path, *words, "--resume", "outputs/stopped"))
    assert (whole.returncode, resumed.returncode) == (0, 0)
    for name in ("curve.csv", "rollouts.jsonl", "test_summary.json"):
        assert (tmp_path / "outputs/stopped" / name).read_text() == (tmp_path / "outputs/whole" / name).read_text(), (
            name
        )


def test_the_words_name_what_was_saved_and_the_command_without_its_resume(tmp_path: Path) -> None:
    interruption = Interruption(run_dir=str(tmp_path))
    interruption.signal = signal.SIGTERM
    command = ["run", "recipes/tspo.yaml", "--resume", "last", "--resume=auto", "--name", "a b"]
    said = account(interruption, tmp_path, command)
    assert "by SIGTERM; there is no checkpoint yet" in said
    assert said.endswith("go on       lightning run recipes/tspo.yaml --name 'a b'")
    saved = tmp_path / "checkpoints/warned.ckpt"
    saved.parent.mkdir()
    saved.touch()
    interruption.saved, interruption.step = saved, 7
    said = account(interruption, tmp_path, command)
    assert f"by SIGTERM after update 7; saved {saved}" in said
    assert said.endswith(f"--name 'a b' --resume {tmp_path}")
