"""Any MLLM adapter as a reasoner, shown no frame: above all a served language model of whatever size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from jsonargparse.typing import PositiveInt

from modules.mllms.base import MLLM, FrameTokens, Row
from modules.mllms.prompt import Prompt
from modules.records import VideoQuestion
from modules.roles.reasoner import Message, Reasoner, Written

_CALL = "reasoner"


class MLLMReasoner(Reasoner):
    """Writes with an adapter, e.g. `modules.mllms.openai.OpenAIChat`, whose model need not see.

    An adapter takes one turn, so a conversation of several (an answer that could not be used, and what was wrong with
    it) is put into one.

    Args:
        mllm: what writes.
        max_new_tokens: of a turn, thoughts included.
    """

    def __init__(self, *, mllm: MLLM, max_new_tokens: PositiveInt = 8192) -> None:
        super().__init__()
        self.mllm, self.max_new_tokens = mllm.requires_grad_(False), max_new_tokens

    def describe(self) -> dict[str, Any]:
        return {**self.mllm.describe(), "decoding": self.mllm.decoding(0.0), "max_new_tokens": self.max_new_tokens}

    def shortfalls(self) -> dict[str, int]:
        return self.mllm.shortfalls()

    @torch.no_grad()
    def write(self, messages: Sequence[Message]) -> Written:
        system = "\n\n".join(message.text for message in messages if message.role == "system")
        text = one_turn([message for message in messages if message.role != "system"])
        prompt = replace(Prompt(timestamps=False), system=system or self.mllm.prompt.system)
        nothing = FrameTokens(torch.empty(0), torch.empty(0))
        question = VideoQuestion("", "", _CALL, "", 0.0, text, wording=text)
        row = Row(question, nothing, torch.empty(0, dtype=torch.int64), prompt)
        with self.mllm.counted() as usage:
            answer = self.mllm.generate([row], self.max_new_tokens).texts[0]
        cost = usage.costs[_CALL]
        return Written(answer, cost.text_tokens_in, cost.text_tokens_out)


def one_turn(messages: Sequence[Message]) -> str:
    """A conversation as the text of one turn of the user's."""
    texts = [f"Your answer was:\n{m.text}" if m.role == "assistant" else m.text for m in messages]
    return "\n\n".join(texts)
