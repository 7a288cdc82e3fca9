"""A sampler that learns from rewards alone, in a few lines: what tests of samplers share."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from modules.selection.base import FrameSampler

World = Callable[[int], tuple[tuple[Tensor, Tensor, Tensor, Tensor], Tensor]]
"""A sampler's arguments for B questions, and int64 (B,) the frame that each is about, both drawn by a seed."""


def learn_to_find(sampler: FrameSampler, world: World, num_updates: int, learning_rate: float) -> None:
    """Policy gradient with the group's mean as baseline; 16 draws of 4 frames, right where the frame is among them."""
    optimizer = torch.optim.Adam(sampler.parameters(), lr=learning_rate)
    for step in range(num_updates):
        arguments, target = world(step)
        policy = sampler(*arguments)
        selection = policy.sample(4, 16, torch.Generator().manual_seed(step))
        reward = (selection.candidate_index == target[:, None, None]).any(-1).float()
        advantage = reward - reward.mean(1, keepdim=True)
        loss = -(policy.log_prob(selection.candidate_index).sum(-1) * advantage).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def found(sampler: FrameSampler, world: World, num_frames: int) -> float:
    """Share of questions that were not learnt on whose frame is among the best ones."""
    arguments, target = world(10_000)
    chosen = sampler(*arguments).mode(num_frames).candidate_index[:, 0]
    return float((chosen == target[:, None]).any(-1).float().mean())
