"""Rewards queries that tell frames apart: a similarity with peaks, not a flat one (MSJoE's r_info)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from modules.records import Rollouts
from modules.rewards.base import Reward


class QueryInformation(Reward):
    """Share of a trajectory's queries whose similarities with the candidates are peaked; 0 where none was written.

    Args:
        measure: ``ratio`` is max / min of the cosines (paper, with a threshold of 10; min is raised to 0.01, because
            cosines may be 0 or below); ``contrast`` is (max - mean) / std, for encoders whose cosines are no ratios.
        threshold: a query above it counts. Choose it so that about half of the first queries do.
    """

    needs_options = False

    def __init__(self, *, measure: Literal["ratio", "contrast"] = "ratio", threshold: float = 10.0) -> None:
        self.measure, self.threshold = measure, threshold

    def __call__(self, rollouts: Rollouts) -> Tensor:
        if rollouts.queries is None or rollouts.query_features is None:
            raise ValueError("query_information judges written queries: the recipe needs model.query_writer")
        written = torch.tensor([[len(q) for q in group] for group in rollouts.queries])
        peaked = self.peakedness(rollouts.batch.features, rollouts.batch.mask, rollouts.query_features) > self.threshold
        there = torch.arange(peaked.shape[-1]) < written[..., None]
        return (peaked.cpu() & there).sum(-1) / written.clamp(min=1).float()

    def peakedness(self, features: Tensor, mask: Tensor, queries: Tensor) -> Tensor:
        """(B, T, D), bool (B, T), (B, G, Q, D) -> (B, G, Q)."""
        frames, texts = (torch.nn.functional.normalize(x.float(), dim=-1) for x in (features, queries))
        cosine = torch.einsum("bgqd,btd->bgqt", texts, frames)
        inside = mask[:, None, None]
        highest = cosine.masked_fill(~inside, -torch.inf).amax(-1)
        if self.measure == "ratio":
            return highest / cosine.masked_fill(~inside, torch.inf).amin(-1).clamp(min=1e-2)
        count = inside.sum(-1)
        mean = (cosine * inside).sum(-1) / count
        deviation = (((cosine - mean[..., None]) * inside).square().sum(-1) / count).sqrt()
        return (highest - mean) / deviation.clamp(min=1e-6)
