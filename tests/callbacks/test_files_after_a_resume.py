"""``curve.csv`` and ``rollouts.jsonl`` of a run killed at any moment and resumed are those of one that was not.

The killed run is a process of its own that ends itself by SIGKILL, in the middle of whatever a hook stands for.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from evolution_parts import Parts

from callbacks.checkpoints import LastUpdateSaved
from callbacks.interruption import Interrupted, Interruption
from callbacks.learning_curve import LearningCurve
from callbacks.rollout_table import RolloutTable
from recipes.launcher.runs import last_checkpoint

pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.slow]
MAX_STEPS = 6


class KillItself(L.Callback):
    """A signal in a hook, once a number of updates has been made."""

    def __init__(self, hook: str, step: int, signum: int = signal.SIGKILL) -> None:
        self.step, self.signum = step, signum
        setattr(self, hook, self._kill)

    def _kill(self, trainer: L.Trainer, *_: Any, **__: Any) -> None:
        if trainer.global_step == self.step:
            os.kill(os.getpid(), self.signum)


@pytest.fixture(scope="module")
def parts(tmp_path_factory, short_world, blank_clip, blank_vlm) -> Parts:
    return Parts(tmp_path_factory.mktemp("resumed"), short_world, blank_clip, blank_vlm)


def fit(parts: Parts, run_dir: Path, extra: list[L.Callback], accumulate: int = 1, **kwargs: Any) -> None:
    """A run as a recipe has it: saved and validated every second update, on from its checkpoint where it has one."""
    begun = last_checkpoint(run_dir)
    saving = L.pytorch.callbacks.ModelCheckpoint(
        dirpath=run_dir / "checkpoints",
        every_n_train_steps=kwargs.pop("save_every", 2),
        save_top_k=1,
        save_last="link",
        enable_version_counter=False,
    )
    observers = [
        RolloutTable(run_dir=str(run_dir), every_n_steps=1, num_questions=1),
        LearningCurve(run_dir=str(run_dir)),
        *extra,
        Interruption(run_dir=str(run_dir)),
        saving,
    ]
    settings = {"max_steps": MAX_STEPS, "limit_val_batches": 1, "val_check_interval": 2 * accumulate, **kwargs}
    trainer = L.Trainer(
        accelerator="cpu",
        devices=1,
        max_epochs=-1,
        num_sanity_val_steps=0,
        check_val_every_n_epoch=None,
        enable_progress_bar=False,
        enable_model_summary=False,
        logger=False,
        callbacks=observers,
        **settings,
    )
    module = parts.module(accumulate=accumulate, lr_scheduler_type="constant")
    resumed = {"ckpt_path": begun, "weights_only": True} if begun.is_file() else {}
    trainer.fit(module, datamodule=parts.data(batch_size=2), **resumed)


def fit_and_die(*args: Any, **kwargs: Any) -> int:
    """The signal that has ended a process that fits, or its status: 0 where it came to its end."""
    pid = os.fork()
    if pid == 0:
        try:
            fit(*args, **kwargs)
            os._exit(0)
        except Interrupted as stop:
            os._exit(stop.code)
        except BaseException:
            import traceback

            traceback.print_exc()
            os._exit(1)
    status = os.waitpid(pid, 0)[1]
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def files(run_dir: Path) -> list[str]:
    return [(run_dir / name).read_text() for name in ("curve.csv", "rollouts.jsonl")]


@pytest.fixture(scope="module")
def whole(parts: Parts, tmp_path_factory) -> Any:
    """The files of an undisturbed run, by batches an update."""
    known: dict[int, list[str]] = {}

    def of(accumulate: int) -> list[str]:
        if accumulate not in known:
            run_dir = tmp_path_factory.mktemp("whole")
            assert fit_and_die(parts, run_dir, [], accumulate) == 0
            known[accumulate] = files(run_dir)
        return known[accumulate]

    return of


def test_the_last_update_is_saved_out_of_turn(parts: Parts, tmp_path: Path) -> None:
    for max_steps in (3, 5, 6):
        assert fit_and_die(parts, tmp_path, [LastUpdateSaved()], max_steps=max_steps) == 0
        saved = tmp_path / "checkpoints" / "last.ckpt"
        assert torch.load(saved, weights_only=True)["global_step"] == max_steps
        assert sorted(p.name for p in saved.parent.glob("*.ckpt")) == sorted(["last.ckpt", saved.resolve().name])


MOMENTS = {
    "in the first update": ("on_before_optimizer_step", 0),
    "in the middle of an update": ("on_before_optimizer_step", 3),
    "between the rollouts and the checkpoint": ("on_train_batch_end", 4),
    "in the middle of a checkpoint": ("on_save_checkpoint", 4),
    "before a validation": ("on_validation_start", 4),
    "in the middle of a validation": ("on_validation_batch_end", 4),
    "after a validation": ("on_validation_end", 4),
    "after the next rollouts": ("on_train_batch_end", 5),
    "before the last validation": ("on_validation_start", 6),
    "when the training has ended": ("on_train_end", 6),
}
QUICK = (
    "in the middle of an update",
    "between the rollouts and the checkpoint",
    "before a validation",
    "before the last validation",
)


@pytest.mark.parametrize("accumulate", [1, pytest.param(2, marks=pytest.mark.long)])
@pytest.mark.parametrize("moment", [m if m in QUICK else pytest.param(m, marks=pytest.mark.long) for m in MOMENTS])
def test_killed(parts: Parts, tmp_path: Path, whole, moment: str, accumulate: int) -> None:
    hook, step = MOMENTS[moment]
    assert fit_and_die(parts, tmp_path, [KillItself(hook, step)], accumulate) == signal.SIGKILL
    if step >= 4 and moment != "in the middle of a checkpoint":
        assert (tmp_path / "curve.csv").is_file()
    assert fit_and_die(parts, tmp_path, [], accumulate) == 0
    assert files(tmp_path) == whole(accumulate)


@pytest.mark.parametrize("accumulate", [1, pytest.param(2, marks=pytest.mark.long)])
@pytest.mark.parametrize(
    "hook", ["on_before_optimizer_step", pytest.param("on_validation_batch_end", marks=pytest.mark.long)]
)
@pytest.mark.parametrize("signum", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.long)])
def test_stopped(parts: Parts, tmp_path: Path, whole, signum: signal.Signals, hook: str, accumulate: int) -> None:
    """A signal in the middle of an update of the whole run; what comes at its end is saved and none is lost."""
    assert fit_and_die(parts, tmp_path, [KillItself(hook, 4, signum)], accumulate) == 128 + signum
    assert (tmp_path / "checkpoints/last.ckpt").readlink() == Path("warned.ckpt")
    assert fit_and_die(parts, tmp_path, [], accumulate) == 0
    assert files(tmp_path) == whole(accumulate)


def test_a_second_signal_ends_at_once(parts: Parts, tmp_path: Path) -> None:
    twice = [KillItself(hook, 3, signal.SIGTERM) for hook in ("on_train_batch_start", "on_before_optimizer_step")]
    assert fit_and_die(parts, tmp_path, twice) == 143
    assert not (tmp_path / "checkpoints/warned.ckpt").exists()


def test_killed_twice_in_one_update_of_two_batches(parts: Parts, tmp_path: Path, whole) -> None:
    """What is saved in its middle would shift all later validations by a batch."""
    for _ in range(2):
        assert fit_and_die(parts, tmp_path, [KillItself("on_before_optimizer_step", 4)], 2) == signal.SIGKILL
    assert fit_and_die(parts, tmp_path, [], 2) == 0
    assert files(tmp_path) == whole(2)


@pytest.mark.parametrize("save_every", [2, 25], ids=["saved with the last update", "saved at the end only"])
def test_max_steps_reached_and_then_raised(parts: Parts, tmp_path: Path, whole, save_every: int) -> None:
    assert fit_and_die(parts, tmp_path, [], max_steps=4, save_every=save_every) == 0
    assert fit_and_die(parts, tmp_path, [], max_steps=4, save_every=save_every) == 0  # nothing left to do
    assert fit_and_die(parts, tmp_path, []) == 0
    assert files(tmp_path) == whole(1)


def test_the_curve_is_there_while_the_run_is(parts: Parts, tmp_path: Path) -> None:
    assert fit_and_die(parts, tmp_path, [KillItself("on_train_batch_start", 2)]) == signal.SIGKILL
    lines = (tmp_path / "curve.csv").read_text().splitlines()
    assert lines[0] == "step,metric,value"
    assert {line.split(",")[0] for line in lines[1:]} == {"1", "2"}
    assert any(line.startswith("2,val/accuracy,") for line in lines)
