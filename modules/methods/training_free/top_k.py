"""CLIP top-k: the frames most similar to the question, the simplest rule that reads it."""

from __future__ import annotations

import torch
from torch import Tensor

from modules.selection.base import FrameSampler, check_comparable
from modules.selection.policies import PlackettLuce


class TopK(FrameSampler):
    """The K frames most similar to the query, by cosine of the encoder's features (CLIP top-k).

    Args:
        temperature: turns similarities into logits for sampling; the choice of the best K does not depend on it.
    """

    scores_frames_alone = True

    def __init__(self, *, temperature: float = 0.025) -> None:
        super().__init__()
        self.temperature = temperature

    def forward(self, features: Tensor, mask: Tensor, timestamps_s: Tensor, queries: Tensor) -> PlackettLuce:
        scores = self.scores(features, mask, timestamps_s, queries)
        return PlackettLuce.of_scores(scores, self.temperature, mask)

    def scores(self, features: Tensor, mask: Tensor, timestamps_s: Tensor, queries: Tensor) -> Tensor:
        check_comparable(features, queries)
        frames = torch.nn.functional.normalize(features.float(), dim=-1)
        texts = torch.nn.functional.normalize(queries.float(), dim=-1)
        return torch.einsum("btd,bqd->btq", frames, texts).mean(-1)
