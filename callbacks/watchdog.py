"""Stops a run in which nothing happens any more, and says where each rank stands.

Ranks that wait for one another for ever look like ranks at work. Where no batch ends for ``timeout_s`` seconds, every
rank writes the stacks of its threads and exits, so that the job ends and its requeue can start.
"""

from __future__ import annotations

import faulthandler
from pathlib import Path
from typing import IO, Any

import lightning as L
from jsonargparse.typing import PositiveFloat


class Watchdog(L.Callback):
    """Ends the run where no batch ends any more, with the stacks of every rank.

    Args:
        run_dir: stacks go to ``stalled/rank_N.txt`` below it.
        timeout_s: the longest that a batch, or the way to the first one, may take.
    """

    def __init__(self, *, run_dir: str, timeout_s: PositiveFloat = 1800.0) -> None:
        self.folder, self.timeout_s = Path(run_dir) / "stalled", float(timeout_s)
        self._file: IO[str] | None = None

    def _arm(self, trainer: L.Trainer, *_: Any, **__: Any) -> None:
        if self._file is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._file = (self.folder / f"rank_{trainer.global_rank}.txt").open("w")
            self._file.write(
                f"Rank {trainer.global_rank}: no batch ended for {self.timeout_s:g} s, so the run was stopped. What "
                "each thread was doing is below; compare the ranks. A batch that is only slow needs more timeout_s.\n"
            )
            self._file.flush()
        # the interpreter's own timer: it fires even while every thread waits inside a library
        faulthandler.dump_traceback_later(self.timeout_s, exit=True, file=self._file)

    def _disarm(self, *_: Any, **__: Any) -> None:
        faulthandler.cancel_dump_traceback_later()
        if self._file is not None:
            self._file.close()
            Path(self._file.name).unlink(missing_ok=True)
            self._file = None

    on_fit_start = on_train_batch_end = on_validation_batch_end = on_test_start = on_test_batch_end = _arm
    on_fit_end = on_test_end = on_exception = _disarm
