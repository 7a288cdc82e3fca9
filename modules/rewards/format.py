"""1 where everything the model said follows the asked-for format."""

from __future__ import annotations

import re

import torch
from torch import Tensor

from modules.records import Rollouts
from modules.rewards.base import Reward


class Format(Reward):
    """0/1: the whole answer matches a pattern, and the queries, where the model writes some, could be read.

    Args:
        pattern: regular expression; by default thinking and answer in tags, as in R1-style prompts.
    """

    needs_text = True
    needs_options = False

    def __init__(self, *, pattern: str = r"<think>.*?</think>\s*<answer>.*?</answer>") -> None:
        try:
            self.pattern = re.compile(pattern, re.DOTALL)
        except re.error as error:
            raise ValueError(f"format reward: {pattern!r} is no regular expression: {error}") from error

    def __call__(self, rollouts: Rollouts) -> Tensor:
        assert rollouts.texts is not None
        hits = [[float(bool(self.pattern.fullmatch(t.strip()))) for t in texts] for texts in rollouts.texts]
        reward = torch.tensor(hits)
        if rollouts.queries is not None:
            reward *= torch.tensor([[float(bool(queries)) for queries in group] for group in rollouts.queries])
        return reward
