"""1 where the answer is right, 0 where it is wrong (TSPO's R_A)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from modules.parsing import parse_option
from modules.records import Rollouts
from modules.rewards.base import Reward


class Accuracy(Reward):
    """Right or wrong, by the most probable option or by the parsed text.

    Args:
        by: ``options`` takes the option of greatest log-probability; ``text`` parses the generated answer, and one that
            parses to nothing is wrong; ``auto`` is text in joint training, which draws answers, and options elsewhere.
    """

    def __init__(self, *, by: Literal["auto", "options", "text"] = "auto") -> None:
        self.by = by
        self.needs_text = by == "text"
        self.needs_options = not self.needs_text

    def answers_are_drawn(self) -> None:
        if self.by == "auto":
            self.needs_text, self.needs_options = True, False

    def __call__(self, rollouts: Rollouts) -> Tensor:
        answer = rollouts.answer_index[:, None]
        if self.needs_text:
            assert rollouts.texts is not None
            chosen = torch.tensor(
                [
                    [-2 if (i := parse_option(text, q.options)) is None else i for text in texts]
                    for q, texts in zip(rollouts.batch.questions, rollouts.texts, strict=True)
                ]
            )
        else:
            chosen = rollouts.chosen_option.masked_fill(rollouts.chosen_option < 0, -2).cpu()
        return (chosen == answer).float().masked_fill(answer < 0, torch.nan)
