"""SIGTERM and Ctrl-C end a run in order: a training is saved at the end of its update, anything else stops where it is.

Lightning's own handler ends a run with status 0, as if it had come to its end, and speaks to other ranks in the middle
of whatever they do. Here the handler only notes the signal; all ranks act together once an update or a validation ends.
A second signal ends everything at once, also while the handler waits for a long computation to return.
"""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self

import lightning as L

from callbacks.after_update import AfterUpdate
from callbacks.checkpoints import model_checkpoints, save_early
from callbacks.signal_watch import WATCHED, SignalWatch

_CHILDREN_S = 10.0
"""How long processes of other ranks may take to end by themselves."""


class Interrupted(SystemExit):
    """A signal has ended the run; its code is 128 and the signal's number, as in a shell."""


class Interruption(AfterUpdate):
    """As a context it handles the signals; as a callback of the trainer it says when a training may stop.

    Args:
        run_dir: where the checkpoint is saved.
    """

    def __init__(self, *, run_dir: str) -> None:
        self.run_dir = Path(run_dir)
        self.signal: signal.Signals | None = None
        """That has come, if any."""
        self.saved: Path | None = None
        """The checkpoint that was written because of it."""
        self.step: int | None = None
        """Updates that the training had made when it was stopped."""
        self._waits_for_update = False
        self._trainer: L.Trainer | None = None
        self._children: list[subprocess.Popen] = []
        self._handlers_before: dict[signal.Signals, Any] = {}
        self._signals_seen = SignalWatch(self._end_at_once)

    def __enter__(self) -> Self:
        self._handlers_before = {signum: signal.getsignal(signum) for signum in WATCHED}
        self._handle()
        self._signals_seen.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._take_children()
        for child in self._children if isinstance(error, Interrupted) else ():
            child.terminate()
            try:
                child.wait(_CHILDREN_S)
            except subprocess.TimeoutExpired:
                child.kill()
        self._signals_seen.stop()
        for signum, handler in self._handlers_before.items():
            signal.signal(signum, handler)

    def _handle(self) -> None:
        """Takes the signals."""
        signal.signal(signal.SIGTERM, self._note)
        # a terminal sends Ctrl-C to all ranks, but those that another process has started are for that one to end
        is_child = os.environ.get("LOCAL_RANK", "0") != "0"
        signal.signal(signal.SIGINT, signal.SIG_IGN if is_child else self._note)

    def _note(self, signum: int, _: FrameType | None) -> None:
        if self.signal is not None:
            self._end_at_once(signum)  # unless the watch has been quicker
        self.signal = signal.Signals(signum)
        when = "at the end of this update" if self._waits_for_update else "once the files in hand are whole"
        if os.environ.get("LOCAL_RANK", "0") == "0":
            # not by logging, whose stream may be in the middle of a line; whoever read it may have been ended as well
            with suppress(BrokenPipeError):
                os.write(2, f"\n{self.signal.name}: stops {when}; once more ends at once\n".encode())
        if not self._waits_for_update:
            self._take_children()
            raise Interrupted(128 + signum)

    def _end_at_once(self, signum: int) -> None:
        self._take_children()
        for child in self._children:
            child.kill()
        os._exit(128 + signum)

    def _take_children(self) -> None:
        """Takes the processes of other ranks from Lightning, which kills this one as soon as one of them ends."""
        launcher = None if self._trainer is None else self._trainer.strategy.launcher
        processes = getattr(launcher, "procs", [])
        self._children += processes
        processes.clear()

    # ---- as a callback ----

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        self._trainer = trainer

    def _handle_again(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Lightning has set a handler of its own before the stage."""
        self._handle()

    on_sanity_check_start = on_test_start = on_predict_start = _handle_again

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._handle()
        self._waits_for_update = True
        for callback in model_checkpoints(trainer):
            callback._last_global_step_saved = trainer.global_step  # what was resumed is saved; not again on the way
            if trainer.ckpt_path and callback.save_last:  # a checkpoint is written before its link, and knows of none
                callback.last_model_path = callback.format_checkpoint_name({}, callback.CHECKPOINT_NAME_LAST)

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.state.fn == "validate":
            self._handle()

    def on_update_end(self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any) -> None:
        self._stop_if_told(trainer)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self._waits_for_update:
            self._stop_if_told(trainer)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._stop_if_told(trainer)
        self._waits_for_update = False

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        self._waits_for_update = False

    def _stop_if_told(self, trainer: L.Trainer) -> None:
        told = self.signal is not None
        if trainer.world_size > 1:
            told = trainer.strategy.reduce_boolean_decision(told, all=False)
        if not told:
            return
        self._take_children()
        self.step, self.saved = trainer.global_step, save_early(trainer, self.run_dir)
        # other ranks end well: where one ends badly, srun ends the rest, which still have something to say
        raise Interrupted(128 + (self.signal or signal.SIGTERM) if trainer.is_global_zero else 0)
