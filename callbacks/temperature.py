"""Anneals the sampler's temperature, linearly in optimizer steps (TSPO: 0.025 to 0.01)."""

from __future__ import annotations

from typing import Any

import lightning as L
from jsonargparse.typing import PositiveFloat


class TemperatureSchedule(L.Callback):
    """``tau(step) = start - (start - end) * step / max_steps``.

    Equal ends keep it constant. Annealing at a full learning rate undoes what was learnt (docs/results.md), so let the
    rate decay along with it.

    Args:
        start: tau at step 0.
        end: tau at the last step.
    """

    def __init__(self, *, start: PositiveFloat = 0.025, end: PositiveFloat = 0.01) -> None:
        self.start, self.end = float(start), float(end)

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        progress = min(trainer.global_step / trainer.max_steps, 1.0) if trainer.max_steps > 0 else 0.0
        pl_module.sampler.temperature = self.start - (self.start - self.end) * progress
        pl_module.metrics.add({"policy/temperature": pl_module.sampler.temperature})
