"""Which memories answer a question (VideoStreaming, section 3.2), as a sampler over clips.

The score of clip k is the similarity of its indicator and the question's: the last state of the condenser's language
layers on *newest memory . question*, so a question can be asked as soon as one clip has ended. The paper draws with
Gumbel top-K and learns through a straight-through estimate; how sharp its softmax is, is not said. Here the scores are
the logits of a Plackett-Luce policy, which the shared GRPO step trains from answers alone.
"""

from __future__ import annotations

import torch
from jsonargparse.typing import PositiveFloat
from torch import Tensor, nn

from modules.files.paths import InputPath
from modules.methods.videostreaming.condenser import ClipCondenser, Memory, Stream
from modules.methods.videostreaming.memories import load_condenser
from modules.records import QuestionBatch
from modules.selection.base import FrameSampler, ParameterGroup
from modules.selection.policies import FramePolicy, PlackettLuce


class MemorySelection(FrameSampler):
    """Scores memories by their indicators.

    Args:
        condenser: reads the question on the newest memory; a copy of the one that made the memories, trained apart.
        weights: of the condenser.
        temperature: of the scores, which lie in -1..1.
        layers_lr_share: rate of the language layers, as a share of the sampler's; the heads learn at the whole.
    """

    def __init__(
        self,
        *,
        condenser: ClipCondenser,
        weights: InputPath | None = None,
        temperature: PositiveFloat = 0.1,
        layers_lr_share: float = 0.1,
    ) -> None:
        super().__init__()
        if weights is not None:
            load_condenser(condenser, weights)
        condenser.input.requires_grad_(False)  # makes memories, which are made already
        width = condenser.layers.width
        self.condenser, self.temperature, self.layers_lr_share = condenser, temperature, layers_lr_share
        self.question_head, self.clip_head = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, features: Tensor, mask: Tensor, timestamps_s: Tensor, queries: Tensor) -> FramePolicy:
        raise ValueError("memories are chosen by the question's text, which is part of the batch: `policies`")

    def policies(self, batch: QuestionBatch) -> FramePolicy:
        with torch.autocast(batch.features.device.type, enabled=False):
            return PlackettLuce.of_scores(self._similarities(batch), self.temperature, batch.mask)

    def _similarities(self, batch: QuestionBatch) -> Tensor:
        """Float32 (B, N), cosine of each clip's indicator and the question's."""
        last = batch.mask.sum(1) - 1
        newest = batch.features[torch.arange(len(batch), device=last.device), last]
        stream = Stream(Memory(newest[:, 1:], newest[:, 0]), int(last.max()) + 1)
        asked = self.condenser.question_indicator([q.question for q in batch.questions], stream)
        question, clips = self.question_head(asked.float()), self.clip_head(batch.features[:, :, 0])
        return nn.functional.cosine_similarity(question[:, None], clips, dim=-1)

    def parameter_groups(self) -> dict[str, ParameterGroup]:
        heads = [*self.question_head.parameters(), *self.clip_head.parameters()]
        layers = [p for p in self.condenser.layers.parameters() if p.requires_grad]
        return {"": ParameterGroup(heads), "layers": ParameterGroup(layers, self.layers_lr_share)}
