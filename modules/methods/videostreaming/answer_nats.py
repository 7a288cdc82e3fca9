"""How improbable a text is as the answer of a model that reads memories: both losses of this method are made of it."""

from __future__ import annotations

import torch
from torch import Tensor

from modules.mllms.base import Row
from modules.mllms.transformers_mllm import TransformersMLLM


def text_nats(reader: TransformersMLLM, rows: list[Row], texts: list[str]) -> Tensor:
    """-log p over the root of the number of tokens, float32 (R,), with graph.

    # paper: the language model's loss, and silent on how answers of several lengths are weighed

    Args:
        reader: of memories.
        rows: R.
        texts: R, an answer to each.
    """
    tokenizer = reader.tokenizer
    ids = [
        torch.tensor([*tokenizer(text, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id])
        for text in texts
    ]
    log_probs = reader.log_probs(rows, ids)
    return -log_probs.sum(-1) / torch.tensor([len(i) for i in ids], device=log_probs.device).sqrt()


def answer_nats(reader: TransformersMLLM, rows: list[Row]) -> Tensor:
    """`text_nats` of the right answers, in the form that the prompt asks for.

    Raises:
        ValueError: a question has none.
    """
    return text_nats(reader, rows, [_right_answer(reader, row) for row in rows])


def _right_answer(reader: TransformersMLLM, row: Row) -> str:
    question = row.question
    if question.answer is None:
        raise ValueError(f"question {question.sample_id} has no right answer to learn from")
    if question.answer_index is None:
        return question.answer
    return reader.prompt_of(row).answers(question)[question.answer_index]
