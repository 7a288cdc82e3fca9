"""Random: frames drawn blindly, the control that tells a choice from no choice."""

from __future__ import annotations

import torch
from torch import Tensor

from modules.records import QuestionBatch, Selection
from modules.seeds import seed_of
from modules.selection.base import FrameSampler
from modules.selection.policies import PlackettLuce


class _Drawn(PlackettLuce):
    """A uniform distribution whose mode is one draw of it, the same every time."""

    def __init__(self, mask: Tensor, seeds: list[int]) -> None:
        super().__init__(torch.zeros(mask.shape, device=mask.device), mask)
        self.seeds = seeds

    def mode(self, num_frames: int) -> Selection:
        return self.sample(num_frames, 1, [torch.Generator(self.mask.device).manual_seed(s) for s in self.seeds])


class Random(FrameSampler):
    """K candidates drawn uniformly without replacement; which, is a function of seed and sample_id.

    Args:
        seed: another one draws other candidates.
    """

    reads_features = False

    def __init__(self, *, seed: int = 0) -> None:
        super().__init__()
        self.seed = seed

    def forward(self, features: Tensor, mask: Tensor, timestamps_s: Tensor, queries: Tensor) -> PlackettLuce:
        raise TypeError("random draws belong to questions, not to features; call `policies`")

    def policies(self, batch: QuestionBatch) -> PlackettLuce:
        return _Drawn(batch.mask, [seed_of(f"{self.seed}/{q.sample_id}") for q in batch.questions])
