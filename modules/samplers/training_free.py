"""Samplers without anything to train: the floors and baselines every result is read against."""

from __future__ import annotations

import torch
from torch import Tensor

from modules.policies import PlackettLuce
from modules.records import Selection
from modules.samplers.base import FrameSampler


class _EvenSpread(PlackettLuce):
    """A uniform distribution whose mode is evenly spread."""

    def mode(self, num_frames: int) -> Selection:
        num_candidates = self.mask.sum(1, keepdim=True)
        # the middles of K equal stretches: no frame twice as long as K <= T, and no bias to either end
        middles = (torch.arange(num_frames, device=self.mask.device)[None] + 0.5) * num_candidates / num_frames
        index = torch.where(
            num_candidates >= num_frames, middles.long(), torch.arange(num_frames, device=self.mask.device)
        )
        index = index.masked_fill(index >= num_candidates, -1)[:, None]
        return Selection(index, self.log_prob(index))


class Uniform(FrameSampler):
    """K frames evenly over the video; drawn uniformly at random where samples are asked for."""

    def forward(self, features: Tensor, mask: Tensor, timestamps_s: Tensor, queries: Tensor) -> PlackettLuce:
        return _EvenSpread(torch.zeros(mask.shape, device=mask.device), mask)


class TopK(FrameSampler):
    """The K frames most similar to the query, by cosine of the encoder's features (CLIP top-k).

    Args:
        temperature: turns similarities into logits for sampling; the choice of the best K does not depend on it.
    """

    def __init__(self, *, temperature: float = 0.025) -> None:
        super().__init__()
        self.temperature = temperature

    def forward(self, features: Tensor, mask: Tensor, timestamps_s: Tensor, queries: Tensor) -> PlackettLuce:
        return PlackettLuce(self.scores(features, mask, timestamps_s, queries) / self.temperature, mask)

    def scores(self, features: Tensor, mask: Tensor, timestamps_s: Tensor, queries: Tensor) -> Tensor:
        frames = torch.nn.functional.normalize(features.float(), dim=-1)
        texts = torch.nn.functional.normalize(queries.float(), dim=-1)
        return torch.einsum("btd,bqd->btq", frames, texts).mean(-1)
