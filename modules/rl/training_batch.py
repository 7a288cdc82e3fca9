"""A batch of an update, rolled out and rewarded: what losses are made of."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from modules.rl.rollout_phase import Trajectories


@dataclass(frozen=True)
class TrainingBatch:
    """Trajectories of B questions with what each was better by than the others."""

    trajectories: Trajectories
    token_advantages: Tensor
    """float32 (B, G), for what the MLLM has written."""
    selection_advantages: Tensor
    """float32 (B, G), for the frames that the sampler has drawn."""
