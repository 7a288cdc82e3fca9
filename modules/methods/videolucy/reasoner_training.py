"""Trains a small language model to be VideoLucy's reasoner: it reads short memories and fills in the roles' forms.

The model is an LFM2 of transformers with a tokenizer of its own, so the folder that is written is loaded by
`modules.roles.local_reasoner.LocalReasoner` like any other. It learns from lessons alone
(`datamodules.haystack.memory_lessons`): memories as a captioner writes them, and what they say about a question.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import lightning as L
import torch
from tokenizers import AddedToken
from torch import Tensor
from transformers import (
    Lfm2Config,
    Lfm2ForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

from modules.files.paths import InputPath, ModelPath
from modules.methods.videolucy.notation import Notation, Written
from modules.methods.videolucy.role_prompts import RolePrompts
from modules.roles.local_reasoner import LocalReasoner
from modules.small_stack.blank_tokenizer import blank_tokenizer
from modules.small_stack.schedule import one_cycle

_FRAGMENTS = (
    '{"whole_video":true,"periods":[]}',
    '{"whole_video":false,"periods":[',
    "]}",
    '{"instruction":"',
    '","period":',
    '{"reason":"',
    ',"confident":true,"answer":"',
    ',"confident":false,"answer":"',
    '"}',
    "null",
)
"""Parts of every form, a token each, so that a short answer takes few steps."""
_LATEST_S = 600
_TIME_STEP_S = 5


class NoteOf(Protocol):
    """What is written about one stretch (`datamodules.haystack.memory_notes.Note`)."""

    level: int
    start_s: float
    end_s: float

    @property
    def text(self) -> str: ...


class LessonOf(Protocol):
    """One call of the reasoner (`datamodules.haystack.memory_lessons.Lesson`)."""

    role: str
    question: str
    notes: Sequence[NoteOf]
    searched: Sequence[NoteOf]
    period: tuple[float, float] | None
    answer: str


def asked_in(lesson: LessonOf, prompts: RolePrompts, notation: Notation) -> str:
    """What the agent asks in the situation of a lesson."""
    lines = notation.lines([Written(note.level, (note.start_s, note.end_s), note.text) for note in lesson.notes])
    searched = "; ".join(notation.period_text((note.start_s, note.end_s)) for note in lesson.searched)
    values = {
        "question": lesson.question,
        "memory": "\n".join(lines),
        "searched": searched or "none",
        "period": "" if lesson.period is None else notation.period_text(lesson.period),
    }
    return prompts.text(lesson.role, **values)


class ReasonerTraining(L.LightningModule):
    """Next-token training of what the roles write.

    Args:
        output_dir: where the model is written at the end.
        sentences: words and patterns that become a token each.
        prompts: folder of the roles' prompts, those that the agent will use.
        notation: of memories, the agent's.
        width: of the model.
        num_layers: of the model.
        path: folder of a model to go on from, which then has the width, the layers and the words that it has.
        lr: peak learning rate.
        num_steps: length of the schedule.
    """

    def __init__(
        self,
        *,
        output_dir: str,
        sentences: list[str],
        prompts: InputPath,
        notation: Notation,
        width: int = 96,
        num_layers: int = 4,
        path: ModelPath | None = None,
        lr: float = 3e-3,
        num_steps: int = 2000,
    ) -> None:
        super().__init__()
        self.output_dir, self.lr, self.num_steps = output_dir, lr, num_steps
        self.prompts, self.notation = RolePrompts(prompts), notation
        self.tokenizer: PreTrainedTokenizerBase
        self.model: PreTrainedModel
        if path is None:
            self.tokenizer = _tokenizer(sentences)
            self.model = _blank_model(self.tokenizer, width, num_layers)
        else:
            begun = LocalReasoner(path=path)
            self.tokenizer, self.model = begun.tokenizer, begun.model.requires_grad_(True)

    def training_step(self, batch: list[LessonOf], batch_idx: int) -> Tensor:
        loss = self._nll(batch).mean()
        self.log("train/loss", loss, prog_bar=True, batch_size=len(batch))
        return loss

    def _nll(self, batch: list[LessonOf]) -> Tensor:
        """float (tokens of all answers,), negative log-probability of each token."""
        rows, answers = [], []
        for lesson in batch:
            prompt = self.tokenizer(self._prompt(lesson))["input_ids"]
            answer = [*self.tokenizer(lesson.answer)["input_ids"], self.tokenizer.eos_token_id]
            rows.append(torch.tensor(prompt + answer))
            answers.append(len(answer))
        ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=self.tokenizer.pad_token_id)
        is_answer = torch.zeros_like(ids, dtype=torch.bool)
        for row, (tokens, length) in enumerate(zip(rows, answers, strict=True)):
            is_answer[row, len(tokens) - length : len(tokens)] = True
        ids, is_answer = ids.to(self.device), is_answer.to(self.device)
        # padding is on the right and attention looks back, so no mask is needed
        states = self.model.model(input_ids=ids).last_hidden_state[:, :-1]
        logits = self.model.lm_head(states[is_answer[:, 1:]])
        return torch.nn.functional.cross_entropy(logits.float(), ids[:, 1:][is_answer[:, 1:]], reduction="none")

    def _prompt(self, lesson: LessonOf) -> str:
        """As `modules.roles.local_reasoner.LocalReasoner` puts a conversation to a model without a chat template."""
        return asked_in(lesson, self.prompts, self.notation) + "\n"

    def transfer_batch_to_device(
        self, batch: list[LessonOf], device: torch.device, dataloader_idx: int
    ) -> list[LessonOf]:
        return batch  # texts

    def on_validation_epoch_start(self) -> None:
        self._same: dict[str, list[float]] = defaultdict(list)

    def validation_step(self, batch: list[LessonOf], batch_idx: int) -> None:
        for lesson, text in zip(batch, self._written(batch), strict=True):
            self._same[lesson.role].append(float(text == lesson.answer))

    @torch.no_grad()
    def _written(self, batch: list[LessonOf]) -> list[str]:
        """What the model writes, most probable tokens."""
        prompts = self.tokenizer([self._prompt(lesson) for lesson in batch], return_tensors="pt", padding=True)
        length = prompts["input_ids"].shape[1]
        written = self.model.generate(  # type: ignore[operator]
            input_ids=prompts["input_ids"].to(self.device),
            attention_mask=prompts["attention_mask"].to(self.device),
            max_new_tokens=40,
            do_sample=False,
            pad_token_id=self.tokenizer.pad_token_id,
        )
        return self.tokenizer.batch_decode(written[:, length:], skip_special_tokens=True)

    def on_validation_epoch_end(self) -> None:
        every = [same for found in self._same.values() for same in found]
        self.log("val/same", sum(every) / len(every), prog_bar=True)
        self.log_dict({f"val/same_{role}": sum(found) / len(found) for role, found in self._same.items()})

    def configure_optimizers(self) -> dict[str, Any]:
        return one_cycle(self.parameters(), self.lr, self.num_steps)

    def on_train_end(self) -> None:
        if self.trainer.is_global_zero:
            folder = Path(self.output_dir)
            self.model.half().save_pretrained(folder)
            self.tokenizer.save_pretrained(folder)


def _tokenizer(sentences: list[str]) -> PreTrainedTokenizerFast:
    """Each word, each time up to ten minutes, and each fragment of a form is a token, whatever stands before it."""
    tokenizer = blank_tokenizer(sentences * 50, {}, vocab_size=600, add_prefix_space=False)
    times = [AddedToken(str(second), single_word=True) for second in range(0, _LATEST_S + 1, _TIME_STEP_S)]
    tokenizer.add_tokens([*_FRAGMENTS, *times])
    return tokenizer


def _blank_model(tokenizer: PreTrainedTokenizerFast, width: int, num_layers: int) -> Lfm2ForCausalLM:
    """A short convolution before each attention: what follows upon what is there to be attended to from the start."""
    config = Lfm2Config(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=2 * width,
        block_auto_adjust_ff_dim=False,
        num_hidden_layers=num_layers,
        layer_types=["full_attention" if layer % 2 else "conv" for layer in range(num_layers)],
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=2048,
        rope_parameters={"rope_type": "default", "rope_theta": 10_000.0},
        initializer_range=width**-0.5,  # the usual 0.02 is that of models twenty times as wide
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return Lfm2ForCausalLM(config)
