"""The question as ReFoCUS reads it: tokens of the backbone's own vocabulary, behind the frames."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from modules.files.hub import fetching
from modules.files.model_files import AS_DATA, as_data
from modules.files.paths import ModelPath
from modules.methods.refocus.backbones.base import SequenceBackbone
from modules.parsing import LETTERS
from modules.records import VideoQuestion


class QuestionPrompt(nn.Module):
    """Writes a question with its options as the tokens that the pointer decoder reads around the frames.

    Args:
        tokenizer: folder or hub id (official code: GPT-NeoX-20B's).
        head: before the frames.
        tail: after the question and its options.
    """

    def __init__(
        self,
        *,
        tokenizer: ModelPath,
        head: str = "<|system|>You are a helpful AI assistant.<|endoftext|><|user|>",
        tail: str = "<|endoftext|>",
    ) -> None:
        super().__init__()
        from transformers import AutoTokenizer

        with fetching(tokenizer):
            self.tokenizer = AutoTokenizer.from_pretrained(as_data(str(ModelPath(tokenizer))), **AS_DATA)
        self.head, self.tail = head, tail

    def text(self, question: VideoQuestion) -> str:
        """What comes after the frames."""
        options = (f"{letter}. {option}" for letter, option in zip(LETTERS, question.options, strict=False))
        return "\n" + "\n".join([question.question, *options]) + self.tail

    def embed_head(self, backbone: SequenceBackbone) -> Tensor:
        """(S, d)."""
        return self._embed(self.head, backbone)

    def embed_questions(self, questions: Sequence[VideoQuestion], backbone: SequenceBackbone) -> tuple[Tensor, Tensor]:
        """(B, S, d), zero at padding, and the number of real tokens (B,)."""
        embedded = [self._embed(self.text(question), backbone) for question in questions]
        lengths = torch.tensor([len(e) for e in embedded], device=embedded[0].device)
        return nn.utils.rnn.pad_sequence(embedded, batch_first=True), lengths

    def _embed(self, text: str, backbone: SequenceBackbone) -> Tensor:
        ids = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        device = next(backbone.parameters()).device
        return backbone.embed(torch.tensor(ids, dtype=torch.int64, device=device))
