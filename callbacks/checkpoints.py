"""Checkpoints out of turn: of a run that is told to stop, and of what a training ended with."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import lightning as L
from lightning.pytorch.callbacks import ModelCheckpoint


def save_early(trainer: L.Trainer, run_dir: Path) -> Path:
    """Writes ``checkpoints/warned.ckpt``, called on all ranks, and has ``last.ckpt`` lead to it.

    It does so now and for the callback that renews the link when the epoch ends (lightning 2.6.6 leads it to what that
    callback has saved itself).
    """
    saved = run_dir / "checkpoints" / "warned.ckpt"
    trainer.save_checkpoint(saved)
    for callback in model_checkpoints(trainer):
        callback._last_checkpoint_saved, callback._last_global_step_saved = str(saved), trainer.global_step
    if trainer.is_global_zero:
        link = saved.with_name("last.link")
        link.unlink(missing_ok=True)
        link.symlink_to(saved.name)
        os.replace(link, saved.with_name("last.ckpt"))
    return saved


class LastUpdateSaved(L.Callback):
    """Has a training's last update saved where it is not its turn; Lightning leaves it out then. Every run has it."""

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        for callback in model_checkpoints(trainer):
            if trainer.global_step > 0 and callback._last_global_step_saved != trainer.global_step:
                known = callback._monitor_candidates(trainer)
                callback._save_topk_checkpoint(trainer, known)
                callback._save_last_checkpoint(trainer, known)


def model_checkpoints(trainer: L.Trainer) -> Iterator[ModelCheckpoint]:
    """The callbacks that save in turn."""
    return (callback for callback in trainer.checkpoint_callbacks if isinstance(callback, ModelCheckpoint))
