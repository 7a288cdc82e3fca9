"""A language model says whether a written answer means the same as the reference: yes is 1, no is 0."""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
from torch import Tensor

from modules.mllms.base import MLLM, FrameTokens, Row
from modules.records import Rollouts, VideoQuestion
from modules.rewards.base import Reward

PROMPT = """Question about a video: {question}
Reference answer: {reference}
Answer to grade: {answer}
Does the answer to grade mean the same as the reference answer? Reply with yes or no."""
_LONGEST_ANSWER = 2000


def grading_row(question: str, references: Sequence[str], text: str) -> Row:
    """What the model is asked, without a frame.

    Args:
        question: that was answered.
        references: texts that are right.
        text: to grade; a very long one is cut.
    """
    values = {"question": question, "reference": " | ".join(references), "answer": text[:_LONGEST_ANSWER]}
    wording = re.sub(r"\{(\w+)\}", lambda blank: values[blank[1]], PROMPT)  # in one pass: texts may contain braces
    nothing = FrameTokens(torch.empty(0), torch.empty(0))
    asked = VideoQuestion("grades", "", "grade", "", 0.0, question, wording=wording)
    return Row(asked, nothing, torch.empty(0, dtype=torch.int64))


def read_grade(reply: str) -> float | None:
    """1 for a reply that begins with yes, 0 with no, None for any other."""
    first = reply.strip().lower().strip("*\"'`.!( ")
    return 1.0 if first.startswith("yes") else 0.0 if first.startswith("no") else None


class ModelGrade(Reward):
    """0/1 against the references of open questions, by another model; NaN without references, or where it says neither.

    Args:
        model: grades; a served one, or any other adapter.
        rows_per_call: answers in one call of it.
    """

    name = "model_grade"
    needs_text = True
    needs_options = False

    def __init__(self, *, model: MLLM, rows_per_call: int = 16) -> None:
        self.model, self.rows_per_call = model.requires_grad_(False), rows_per_call

    def __call__(self, rollouts: Rollouts) -> Tensor:
        assert rollouts.texts is not None
        grades = torch.full((len(rollouts.texts), len(rollouts.texts[0])), torch.nan)
        places, rows = [], []
        for b, (question, texts) in enumerate(zip(rollouts.batch.questions, rollouts.texts, strict=True)):
            for g, text in enumerate(texts):
                if question.references:
                    places.append((b, g))
                    rows.append(grading_row(question.question, question.references, text))
        for start in range(0, len(rows), self.rows_per_call):
            part = rows[start : start + self.rows_per_call]
            replies = self.model.generate(part, 4).texts
            for place, reply in zip(places[start : start + self.rows_per_call], replies, strict=True):
                value = read_grade(reply)
                grades[place] = torch.nan if value is None else value
        return grades
