"""Samplers of frames in the place of the cosine: TSPO's agent or MSJoE's U-Net choose memories."""

from __future__ import annotations

import torch

from modules.files.paths import InputPath
from modules.methods.videostreaming.condenser import ClipCondenser
from modules.methods.videostreaming.memory_selection import MemorySampler
from modules.records import QuestionBatch
from modules.selection.base import FrameSampler
from modules.selection.policies import FramePolicy


class OverMemories(MemorySampler):
    """Lets any sampler choose: the clips' indicators are its features, the question's is its only query.

    Such a sampler sees all clips at once, where the cosine judges each by itself.

    Args:
        condenser, weights, layers_lr_share: see `MemorySampler`.
        sampler: chooses; it learns with the maps.
    """

    def __init__(
        self,
        *,
        condenser: ClipCondenser,
        sampler: FrameSampler,
        weights: InputPath | None = None,
        layers_lr_share: float = 0.1,
    ) -> None:
        super().__init__(condenser=condenser, weights=weights, layers_lr_share=layers_lr_share)
        self.sampler = sampler

    def policies(self, batch: QuestionBatch) -> FramePolicy:
        with torch.autocast(batch.features.device.type, enabled=False):
            clips, question = self.indicators(batch.features, batch.mask, [q.question for q in batch.questions])
            clips = clips.masked_fill(~batch.mask[..., None], 0.0)  # the map's bias is no feature of padding
            return self.sampler(clips, batch.mask, batch.timestamps_s, question)
