"""On a cluster's warning before the time is up: save, stop, and go on in another job.

Lightning saves inside the signal's handler, in the middle of a step, where ranks that gather parameters wait for one
another at different places. Here the handler only notes the signal; all ranks act together at the end of the update, so
that no batch of an unfinished one is used twice.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import lightning as L

from callbacks.after_update import AfterUpdate
from callbacks.checkpoints import save_early

_log = logging.getLogger(__name__)


class Requeue(AfterUpdate):
    """Saves the run when the cluster warns that time is up, and has another job go on with it.

    Args:
        run_dir: the checkpoint is ``checkpoints/warned.ckpt`` below it, and ``last.ckpt`` a link to it.
        signal_name: what the cluster sends (``#SBATCH --signal=B:USR1@600``).
    """

    def __init__(self, *, run_dir: str, signal_name: str = "SIGUSR1") -> None:
        if not hasattr(signal, signal_name):
            raise ValueError(f"signal_name: {signal_name!r} is no signal")
        self.run_dir, self.signal_name = Path(run_dir), signal_name
        self.successor = self.run_dir / "successor"
        self._warned = False
        self.stopped = False
        """Whether this job has ended early, and goes on in another."""

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        if stage == "fit":  # before Lightning, which leaves a signal alone that somebody handles
            signal.signal(getattr(signal, self.signal_name), self._note)

    def _note(self, *_: Any) -> None:
        self._warned = True

    def on_update_end(self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any) -> None:
        if not trainer.strategy.reduce_boolean_decision(self._warned, all=False):
            return
        save_early(trainer, self.run_dir)
        if trainer.is_global_zero:
            self._go_on_elsewhere()
        trainer.should_stop = self.stopped = True

    def _go_on_elsewhere(self) -> None:
        """Takes up the job that ``train.sbatch`` has handed in for the rest, else has this one queued again.

        The latter only now: ``scontrol requeue`` ends the job that asks for it within seconds.
        """
        if self.successor.is_file():
            self.successor.unlink()  # left lying, it says that the run came to its end and needs none
            return
        job = job_id()
        if job is None:
            return
        asked = subprocess.run(["scontrol", "requeue", job], capture_output=True, text=True, check=False)
        if asked.returncode:
            _log.error("job %s was not queued again: %s", job, asked.stderr.strip())


def job_id() -> str | None:
    """This job's name for ``scontrol``; None outside of SLURM."""
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{task}" if array and task else os.environ.get("SLURM_JOB_ID")
