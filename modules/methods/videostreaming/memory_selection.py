"""Which memories answer a question (VideoStreaming, section 3.2), as a sampler over clips.

The score of clip k is the similarity of its indicator and the question's: the last state of the condenser's language
layers on *newest memory . question*, so a question can be asked as soon as one clip has ended. The paper draws with
Gumbel top-K and learns through a straight-through estimate; how sharp its softmax is, is not said. Here the scores are
the logits of a Plackett-Luce policy, of which Gumbel top-K draws. The shared GRPO step trains it from answers alone;
the paper's way is `modules.methods.videostreaming.answer_loss`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jsonargparse.typing import PositiveFloat
from torch import Tensor, nn

from modules.checkpoints.weights import read_weights
from modules.files.paths import InputPath
from modules.methods.videostreaming.condenser import ClipCondenser, Memory, Stream
from modules.methods.videostreaming.memories import load_condenser
from modules.records import QuestionBatch
from modules.selection.base import FrameSampler, ParameterGroup
from modules.selection.policies import FramePolicy, PlackettLuce

PREFIX = "selection."
"""Of the two maps' names in a file of weights."""


class MemorySampler(FrameSampler):
    """What all choices among memories have in common: indicators of clips and question, each through a linear map.

    Args:
        condenser: reads the question on the newest memory; a copy of the one that made the memories, trained apart.
        weights: of the condenser.
        layers_lr_share: rate of the language layers, as a share of the sampler's; the rest learns at the whole.
    """

    def __init__(
        self, *, condenser: ClipCondenser, weights: InputPath | None = None, layers_lr_share: float = 0.1
    ) -> None:
        super().__init__()
        if weights is not None:
            load_condenser(condenser, weights)
        condenser.input.requires_grad_(False)  # makes memories, which are made already
        width = condenser.layers.width
        self.condenser, self.layers_lr_share = condenser, layers_lr_share
        self.question_head, self.clip_head = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, features: Tensor, mask: Tensor, timestamps_s: Tensor, queries: Tensor) -> FramePolicy:
        raise ValueError("memories are chosen by the question's text, which is part of the batch: `policies`")

    def indicators(self, memories: Tensor, mask: Tensor, questions: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Of the clips, float32 (B, N, W), and of the questions, (B, 1, W).

        Args:
            memories: (B, N, 1 + F P, W), each clip's indicator and then its memory.
            mask: bool (B, N), True at real clips.
            questions: B texts.
        """
        last = mask.sum(1) - 1
        newest = memories[torch.arange(len(memories), device=last.device), last]
        stream = Stream(Memory(newest[:, 1:], newest[:, 0]), int(last.max()) + 1)
        asked = self.condenser.question_indicator(questions, stream)
        return self.clip_head(memories[:, :, 0].float()), self.question_head(asked.float())[:, None]

    def parameter_groups(self) -> dict[str, ParameterGroup]:
        layers = [p for p in self.condenser.layers.parameters() if p.requires_grad]
        slower = {id(p) for p in self.condenser.parameters()}
        rest = [p for p in self.parameters() if id(p) not in slower]
        return {"": ParameterGroup(rest), "layers": ParameterGroup(layers, self.layers_lr_share)}


class MemorySelection(MemorySampler):
    """Scores memories by the similarity of their indicators to the question's.

    Args:
        condenser, weights, layers_lr_share: see `MemorySampler`; weights of a choice that learnt with its condenser
            (`ReaderTraining`) are taken with it.
        temperature: of the scores, which lie in -1..1.
    """

    def __init__(
        self,
        *,
        condenser: ClipCondenser,
        weights: InputPath | None = None,
        temperature: PositiveFloat = 0.1,
        layers_lr_share: float = 0.1,
    ) -> None:
        super().__init__(condenser=condenser, weights=weights, layers_lr_share=layers_lr_share)
        self.temperature = temperature
        if weights is not None:
            learnt = {n.removeprefix(PREFIX): t for n, t in read_weights(weights).items() if n.startswith(PREFIX)}
            self.load_state_dict(learnt, strict=False)

    def maps(self) -> dict[str, nn.Parameter]:
        """The parameters of both maps, by name."""
        own = ("question_head.", "clip_head.")
        return {name: parameter for name, parameter in self.named_parameters() if name.startswith(own)}

    def choice(self, memories: Tensor, mask: Tensor, questions: Sequence[str]) -> PlackettLuce:
        """The policy over clips; arguments as of `indicators`."""
        with torch.autocast(memories.device.type, enabled=False):
            clips, question = self.indicators(memories, mask, questions)
            scores = nn.functional.cosine_similarity(question, clips, dim=-1)
            return PlackettLuce.of_scores(scores, self.temperature, mask)

    def policies(self, batch: QuestionBatch) -> FramePolicy:
        return self.choice(batch.features, batch.mask, [q.question for q in batch.questions])
