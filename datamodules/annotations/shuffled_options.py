"""Options in another order, for data sets whose order gives the answer away."""

from __future__ import annotations

from dataclasses import replace

import torch

from modules.records import VideoQuestion
from modules.seeds import seed_of


def shuffled(question: VideoQuestion, seed: int) -> VideoQuestion:
    """The same question with its options in an order that follows from its id and a seed, and from nothing else.

    Args:
        question: with or without options.
        seed: another one gives another order.
    """
    generator = torch.Generator().manual_seed(seed_of(f"{seed}/{question.dataset}/{question.sample_id}"))
    order = torch.randperm(len(question.options), generator=generator).tolist()
    index = None if question.answer_index is None else order.index(question.answer_index)
    return replace(question, options=tuple(question.options[place] for place in order), answer_index=index)
