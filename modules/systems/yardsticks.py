"""What every system is read against: the model that sees nothing, and the one that is shown the evidence."""

from __future__ import annotations

import torch

from modules.records import QuestionBatch, Selection
from modules.selection.evidence import oracle_selection
from modules.systems.base import Reply, VideoSystem
from modules.systems.frame_source import FrameSource
from modules.systems.sampler_system import shown


class Blind(VideoSystem):
    """Answers without any frame: what the questions give away."""

    def answer(self, batch: QuestionBatch, source: FrameSource) -> list[Reply]:
        index = torch.full((len(batch), 1, self.setting.num_frames), -1, device=batch.mask.device)
        return shown(self, batch, source, _selection(index))


class Oracle(VideoSystem):
    """Answers on frames of the evidence, where it is known, and on evenly spaced ones beside them."""

    def answer(self, batch: QuestionBatch, source: FrameSource) -> list[Reply]:
        index = oracle_selection(batch, self.setting.num_frames).to(batch.mask.device)
        return shown(self, batch, source, _selection(index))


def _selection(index: torch.Tensor) -> Selection:
    """(B, 1, K) frames that nobody drew."""
    return Selection(index, torch.zeros(index.shape, device=index.device))
