"""Random K: how many frames the rollouts of an update choose is drawn anew each time (ParaVT).

A sampler that has always chosen the same number need not rank what comes after it.
"""

from __future__ import annotations

from typing import Any

import lightning as L
from jsonargparse.typing import NonNegativeInt, PositiveInt

from modules.seeds import seed_of


class RandomFrames(L.Callback):
    """Draws how many frames a rollout of training chooses; validation and test keep the model's ``num_frames``.

    All batches of an update and all ranks have the same number, and a resumed run the one that it would have had.

    Args:
        num_frames: numbers to draw from, each as likely as the others.
        seed: of the draws, together with the update.
    """

    def __init__(self, *, num_frames: list[PositiveInt], seed: NonNegativeInt = 0) -> None:
        if not num_frames:
            raise ValueError("num_frames: name at least one number to draw")
        self.num_frames, self.seed = num_frames, seed

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        drawn = self.num_frames[seed_of(f"{self.seed}/{trainer.global_step}/num_frames") % len(self.num_frames)]
        pl_module.rollout_phase.num_frames = drawn
        pl_module.metrics.add({"policy/num_frames": float(drawn)})
