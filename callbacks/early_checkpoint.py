"""A checkpoint out of turn, because the run is about to end."""

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
        callback._last_checkpoint_saved = str(saved)
    if trainer.is_global_zero:
        link = saved.with_name("last.link")
        link.unlink(missing_ok=True)
        link.symlink_to(saved.name)
        os.replace(link, saved.with_name("last.ckpt"))
    return saved


def model_checkpoints(trainer: L.Trainer) -> Iterator[ModelCheckpoint]:
    """The callbacks that save in turn."""
    return (callback for callback in trainer.checkpoint_callbacks if isinstance(callback, ModelCheckpoint))
