"""How far a training, a validation or a test has come: updates rather than epochs, with reward and time left."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import ProgressBar

from modules.console import PlainConsole
from modules.part_progress import PartProgress, duration

_MOST_SHOWN = 2
"""Numbers of a validation; all of them are in ``curve.csv`` and with the logger."""


class UpdateProgress(ProgressBar):
    """Shows the number of the update out of ``trainer.max_steps``, and the batches of what is no training.

    A bar in a terminal; a line now and then where the output goes to a file. Each validation leaves a line with its
    numbers, and the training one with its checkpoint. Only the first rank shows anything.
    """

    def __init__(self) -> None:
        super().__init__()
        self._quiet = False
        self._training: PartProgress | None = None
        self._part: PartProgress | None = None
        """Validation, test or prediction."""
        self._step_at_start = 0

    def disable(self) -> None:
        self._quiet = True

    def enable(self) -> None:
        self._quiet = False

    # ---- training ----

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._step_at_start = trainer.global_step
        total = trainer.max_steps if trainer.max_steps > 0 else None
        self._training = PartProgress(
            "Training", total, "updates", completed=self._step_at_start, quiet=self._quiet
        ).__enter__()

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any, **__: Any) -> None:
        if self._training is not None:
            self._training.update(trainer.global_step, _metrics(trainer.progress_bar_metrics))

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._end_training()

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self._quiet or self._elapsed_s is None:
            return
        self._print(f"trained     {trainer.global_step - self._step_at_start} updates in {duration(self._elapsed_s)}")
        if checkpoint := getattr(trainer.checkpoint_callback, "last_model_path", ""):
            self._print(f"checkpoint  {checkpoint}")
        self._elapsed_s = None

    _elapsed_s: float | None = None
    """Seconds of a training that has ended and has not said so."""

    def _end_training(self) -> None:
        if self._training is not None:
            self._elapsed_s = self._training.elapsed_s
            self._training.__exit__(None, None, None)
            self._training = None

    # ---- the rest ----

    def _begin(self, title: str, num_batches: Iterable[int | float]) -> None:
        if self._training is not None:
            self._training.pause()
        numbers = list(num_batches)
        total = int(sum(numbers)) if all(number != float("inf") for number in numbers) else None
        self._part = PartProgress(title, total, "batches", quiet=self._quiet).__enter__()

    def _advance(self, *_: Any, **__: Any) -> None:
        if self._part is not None:
            self._part.advance()

    def _end(self, *_: Any, **__: Any) -> None:
        if self._part is not None:
            self._part.__exit__(None, None, None)
            self._part = None
        if self._training is not None:
            self._training.go_on()

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not trainer.sanity_checking:
            self._begin("Validating", _numbers(trainer.num_val_batches))

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._end()
        values = {name: value for name, value in trainer.callback_metrics.items() if name.startswith("val/")}
        if self._training is not None and not self._quiet:
            first = dict(list(values.items())[:_MOST_SHOWN])
            self._print(f"validated   after update {trainer.global_step}: {_metrics(first)}")

    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._begin("Testing", _numbers(trainer.num_test_batches))

    def on_predict_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._begin("Answering", _numbers(trainer.num_predict_batches))

    on_validation_batch_end = on_test_batch_end = on_predict_batch_end = _advance
    on_test_end = on_predict_end = _end

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        self._end()
        self._end_training()
        self._elapsed_s = None

    @staticmethod
    def _print(text: str) -> None:
        PlainConsole(soft_wrap=True).print(text)


def _metrics(values: Any) -> str:
    return ", ".join(f"{name} {float(value):.3f}" for name, value in values.items())


def _numbers(number: Any) -> list[int | float]:
    return list(number) if isinstance(number, list) else [number]
