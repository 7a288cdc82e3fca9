"""What happens after an update rather than after each of the batches that it is made of."""

from __future__ import annotations

from typing import Any

import lightning as L


class AfterUpdate(L.Callback):
    """Calls `on_update_end` once for each update, after the batch that completes it."""

    _step_before = -1

    def on_train_batch_start(self, trainer: L.Trainer, *_: Any) -> None:
        self._step_before = trainer.global_step

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step != self._step_before:
            self.on_update_end(trainer, pl_module, outputs, batch)

    def on_update_end(self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any) -> None:
        """Does what a subclass wants done after an update.

        Args:
            trainer: whose ``global_step`` counts this update already.
            pl_module: that was updated.
            outputs: of the training step that completed the update.
            batch: of that step.
        """
