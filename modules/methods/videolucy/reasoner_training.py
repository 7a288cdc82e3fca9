"""Trains a small language model to be VideoLucy's reasoner: it reads short memories and fills in the roles' forms.

The model is an LFM2 of transformers with a tokenizer of its own, so the folder that is written is loaded by
`modules.roles.local_reasoner.LocalReasoner` like any other. It learns from lessons alone
(`datamodules.haystack.memory_lessons`): memories as a captioner writes them, and what they say about a question.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import lightning as L
import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from modules.files.paths import InputPath, ModelPath
from modules.methods.videolucy.blank_reasoner import blank_reasoner, reasoner_tokenizer
from modules.methods.videolucy.notation import Notation, Written
from modules.methods.videolucy.role_prompts import RolePrompts
from modules.roles.local_reasoner import LocalReasoner
from modules.small_stack.schedule import one_cycle


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
    period: NoteOf | None
    """A note, here and in ``answer``, stands for what the notation calls it."""
    answer: dict[str, Any]


@runtime_checkable
class LookUpsOf(Protocol):
    """A memory and words of it (`datamodules.haystack.memory_look_ups.LookUps`)."""

    notes: Sequence[NoteOf]
    searched: Sequence[NoteOf]
    asked: Sequence[tuple[str, NoteOf]]


def asked_in(lesson: LessonOf, prompts: RolePrompts, notation: Notation) -> str:
    """What the agent asks in the situation of a lesson."""
    lines = notation.lines(_written(lesson))
    names = _names(lesson, notation)
    searched = "; ".join(names[note] for note in lesson.searched)
    values = {
        "question": lesson.question,
        "memory": "\n".join(lines),
        "searched": searched or "none",
        "period": "" if lesson.period is None else names[lesson.period],
    }
    return prompts.text(lesson.role, **values)


def answered_in(lesson: LessonOf, notation: Notation) -> str:
    """What the role is to write then, as JSON."""
    names = _names(lesson, notation)

    def named(value: Any) -> Any:
        if isinstance(value, list):
            return [named(one) for one in value]
        return value if value is None or isinstance(value, str | bool) else names[value]

    return json.dumps({key: named(value) for key, value in lesson.answer.items()}, separators=(",", ":"))


def _written(lesson: LessonOf | LookUpsOf) -> list[Written]:
    return [Written(n.level, (n.start_s, n.end_s), n.text, n in lesson.searched) for n in lesson.notes]


def _names(lesson: LessonOf | LookUpsOf, notation: Notation) -> dict[NoteOf, str]:
    """What the notation calls each note; its time where it has no number."""
    written = _written(lesson)
    numbers = notation.numbered(written)
    return {
        note: notation.name(one.seconds, number)
        for note, one, number in zip(lesson.notes, written, numbers, strict=True)
    }


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
        lr: float = 1e-3,
        num_steps: int = 2000,
    ) -> None:
        super().__init__()
        self.output_dir, self.lr, self.num_steps = output_dir, lr, num_steps
        self.prompts, self.notation = RolePrompts(prompts), notation
        self.tokenizer: PreTrainedTokenizerBase
        self.model: PreTrainedModel
        if path is None:
            self.tokenizer = reasoner_tokenizer(sentences)
            self.model = blank_reasoner(self.tokenizer, width, num_layers)
        else:
            begun = LocalReasoner(path=path)
            self.tokenizer, self.model = begun.tokenizer, begun.model.requires_grad_(True)

    def training_step(self, batch: list[LessonOf] | list[LookUpsOf], batch_idx: int) -> Tensor:
        loss = self._nll(batch).mean()
        self.log("train/loss", loss, prog_bar=True, batch_size=len(batch))
        return loss

    def _nll(self, batch: Sequence[LessonOf | LookUpsOf]) -> Tensor:
        """float (tokens of all answers,), negative log-probability of each token."""
        rows, answers = [], []
        for lesson in batch:
            parts = self._look_ups(lesson) if isinstance(lesson, LookUpsOf) else self._lesson(lesson)
            tokens = [self.tokenizer(text)["input_ids"] for text, _ in parts]
            rows.append(torch.tensor([token for part in tokens for token in part]))
            taught = [[is_taught] * len(part) for part, (_, is_taught) in zip(tokens, parts, strict=True)]
            answers.append(torch.tensor([one for part in taught for one in part]))
        padded = torch.nn.utils.rnn.pad_sequence
        ids = padded(rows, batch_first=True, padding_value=self.tokenizer.pad_token_id).to(self.device)
        is_answer = padded(answers, batch_first=True).to(self.device)
        # padding is on the right and attention looks back, so no mask is needed
        states = self.model.model(input_ids=ids).last_hidden_state[:, :-1]
        logits = self.model.lm_head(states[is_answer[:, 1:]])
        return torch.nn.functional.cross_entropy(logits.float(), ids[:, 1:][is_answer[:, 1:]], reduction="none")

    def _lesson(self, lesson: LessonOf) -> list[tuple[str, bool]]:
        """Texts, and whether each is what is taught."""
        return [(self._prompt(lesson), False), (answered_in(lesson, self.notation) + self.tokenizer.eos_token, True)]

    def _look_ups(self, look_ups: LookUpsOf) -> list[tuple[str, bool]]:
        """A memory, then words and the name of their note, again and again."""
        names = _names(look_ups, self.notation)
        parts = [("\n" + "\n".join(self.notation.lines(_written(look_ups))) + "\nfind\n", False)]
        for words, note in look_ups.asked:
            parts += [(f' {words}","period":"', False), (names[note], True)]
        return parts

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
            self._same[lesson.role].append(float(text == answered_in(lesson, self.notation)))

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
        return one_cycle(self.parameters(), self.lr, self.num_steps, warmup_frac=0.01, beta2=0.95)

    def on_train_end(self) -> None:
        if self.trainer.is_global_zero:
            folder = Path(self.output_dir)
            self.model.half().save_pretrained(folder)
            self.tokenizer.save_pretrained(folder)
