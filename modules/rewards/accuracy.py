"""1 where the answer is right, 0 where it is wrong (TSPO's R_A)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from modules.records import Rollouts
from modules.rewards.base import Reward

_TAG = re.compile(r"<answer>(.*?)</answer>", re.DOTALL | re.IGNORECASE)
_LETTERS = "ABCDEFGH"
_MARKED = re.compile(r"\(([A-H])\)|\b(?:answer|option)(?:\s+is)?\s*:?\s*\(?([A-H])\b(?!')", re.IGNORECASE)
_ALONE = re.compile(r"^\W*([A-H])(?:\W|$)", re.IGNORECASE)


def parse_option(text: str, options: Sequence[str]) -> int | None:
    """Index of the option that a free answer names, or None.

    In order: the inside of ``<answer>`` tags if there are any; exactly one option's text; a letter that is marked as an
    answer (``(C)``, ``answer is C``); a letter that stands first ("C", "C. a dog"). The English article "A man ..."
    names nothing, and a letter beyond the options never counts. (Official code: the first lone a-e anywhere.)
    """
    tagged = _TAG.findall(text)
    text = (tagged[-1] if tagged else text).strip()
    lowered = text.lower().strip(" .")
    same = [i for i, option in enumerate(options) if option.lower().strip(" .") == lowered]
    if len(same) == 1:
        return same[0]
    marked = _MARKED.findall(text)
    letter = next((group for group in marked[-1] if group), None) if marked else None
    if letter is None and (alone := _ALONE.match(text)):
        rest = text[alone.end(1) :].lstrip()
        is_article = alone.group(1).upper() == "A" and rest[:1].isalpha()
        letter = None if is_article else alone.group(1)
    index = _LETTERS.index(letter.upper()) if letter else None
    return index if index is not None and index < len(options) else None


class Accuracy(Reward):
    """Right or wrong, by the most probable option or by the parsed text.

    Args:
        by: ``options`` takes the option of greatest log-probability; ``text`` parses the generated answer, and one that
            parses to nothing is wrong; ``auto`` is text in joint training, which draws answers, and options elsewhere.
    """

    name = "accuracy"

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
