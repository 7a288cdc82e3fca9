"""Search-space curriculum: few frames first, more and more later (ReFoCUS: 4, 8, 16, 32 of 512 candidates)."""

from __future__ import annotations

from typing import Any

import lightning as L
from jsonargparse.typing import NonNegativeFloat, PositiveInt

from callbacks.after_update import AfterUpdate


class FrameCurriculum(AfterUpdate):
    """Sets how many frames a rollout of training draws; validation and test keep the model's ``num_frames``.

    A stage lasts a share of the updates (by default each the same), or with ``patience`` until the mean reward has not
    grown by ``min_gain`` for so many updates.

    Args:
        num_frames: K of each stage.
        shares: of ``trainer.max_steps``, one a stage; they add up to 1.
        patience: updates without gain after which the next stage begins; None goes by shares.
        min_gain: of the mean reward over ``patience`` updates against the best such mean of the stage.
    """

    def __init__(
        self,
        *,
        num_frames: list[PositiveInt],
        shares: list[NonNegativeFloat] | None = None,
        patience: PositiveInt | None = None,
        min_gain: NonNegativeFloat = 0.01,
    ) -> None:
        if not num_frames:
            raise ValueError("num_frames: name at least one stage")
        if shares is not None and patience is not None:
            raise ValueError("shares say when a stage ends, and so does patience: give one of them")
        if shares is not None and (len(shares) != len(num_frames) or abs(sum(shares) - 1) > 1e-6):
            raise ValueError(f"shares={shares}: one for each of {len(num_frames)} stages, and 1 together")
        self.num_frames, self.patience, self.min_gain = num_frames, patience, float(min_gain)
        self.shares = shares or [1 / len(num_frames)] * len(num_frames)
        self.stage, self.best = 0, float("-inf")
        self.rewards: list[float] = []

    def state_dict(self) -> dict[str, Any]:
        return {"stage": self.stage, "best": self.best, "rewards": self.rewards}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.stage, self.best, self.rewards = state_dict["stage"], state_dict["best"], state_dict["rewards"]

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        if stage == "fit" and self.patience is None and trainer.max_steps <= 0:
            raise ValueError("stages by shares of the updates need trainer.max_steps")

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        super().on_train_batch_start(trainer)
        if self.patience is None:
            self.stage = self.stage_at(trainer.global_step / trainer.max_steps)
        pl_module.rollout_phase.num_frames = self.num_frames[self.stage]
        pl_module.metrics.add({"policy/num_frames": float(self.num_frames[self.stage])})

    def stage_at(self, progress: float) -> int:
        """Number of the stage after a share of all updates."""
        end = 0.0
        for number, share in enumerate(self.shares):
            end += share
            if progress < end - 1e-9:
                return number
        return len(self.shares) - 1

    def on_update_end(self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any) -> None:
        if self.patience is None or self.stage == len(self.num_frames) - 1:
            return
        reward = trainer.strategy.reduce(outputs["reward"].nanmean())  # ranks have to change stages together
        self.rewards.append(float(reward))
        if len(self.rewards) < self.patience:
            return
        mean = sum(self.rewards) / len(self.rewards)
        self.rewards = []
        if mean < self.best + self.min_gain:
            self.stage, self.best = self.stage + 1, float("-inf")
        else:
            self.best = mean
