"""Second stage of the small answerer: its language model learns to describe frames, then to answer questions.

The vision side is frozen by now, so every frame of the pool is encoded once and training touches the language model
alone, through the same injected frame tokens that rollouts use.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import Any

import lightning as L
import torch
from torch import Tensor

from modules.mllms.base import FrameTokens, Row
from modules.mllms.llava_onevision import LlavaOnevision
from modules.parsing import parse_option
from modules.small_stack.pretraining_data import data_of
from modules.small_stack.schedule import one_cycle

_LONGEST_ANSWER = 24


class AnswerPretraining(L.LightningModule):
    """Next-token training of answers.

    Args:
        mllm: the model, vision side trained.
        output_dir: where it is written at the end.
        lr: peak learning rate.
        num_steps: length of the schedule.
        new_words: added to the vocabulary, a token each; tags, for instance.
        preview_tokens: of a frame in batches of previews.
        initial_std: standard deviation at which the language model's matrices are drawn anew, but its embeddings; None
            goes on with those of the folder.
    """

    def __init__(
        self,
        *,
        mllm: LlavaOnevision,
        output_dir: str,
        lr: float = 1.5e-3,
        num_steps: int = 3000,
        new_words: list[str] | None = None,
        preview_tokens: int = 1,
        initial_std: float | None = None,
    ) -> None:
        super().__init__()
        if new_words and mllm.tokenizer.add_tokens(new_words):
            mllm.model.resize_token_embeddings(len(mllm.tokenizer), mean_resizing=False)
        self.mllm, self.output_dir, self.lr, self.num_steps = mllm, output_dir, lr, num_steps
        self.mllm.requires_grad_(False)
        language_model = self.mllm.model.model.language_model.requires_grad_(True)
        if initial_std is not None:
            for layer in language_model.layers.modules():
                if isinstance(layer, torch.nn.Linear):
                    torch.nn.init.normal_(layer.weight, std=initial_std)
        self.preview_tokens = preview_tokens
        self._tokens: dict[str, Tensor] = {}

    def _frame_tokens(self, stage: str, preview: bool) -> Tensor:
        """Tokens of every frame of a stage's pool, encoded when they are first asked for."""
        name = f"{stage} previews" if preview else stage
        if name not in self._tokens:
            data = data_of(self.trainer)
            frames = (data.pool if stage == "train" else data.val_pool).frames
            encoded = (
                self.mllm.encode_previews(frames, self.preview_tokens) if preview else self.mllm.encode_frames(frames)
            )
            self._tokens[name] = encoded
        return self._tokens[name]

    def _rows(self, batch: dict[str, Any], stage: str) -> list[Row]:
        tokens = self._frame_tokens(stage, bool(batch.get("preview")))
        every = torch.arange(batch["index"].shape[1])
        times_s = batch.get("times_s", every.float().expand(len(batch["index"]), -1))
        prompt = replace(self.mllm.prompt, template=batch.get("template"))
        return [
            Row(question, FrameTokens(tokens[index], times), every, prompt)
            for question, index, times in zip(batch["questions"], batch["index"], times_s, strict=True)
        ]

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        end = [self.mllm.tokenizer.eos_token_id]
        answers = [torch.tensor(self.mllm.tokenizer(a)["input_ids"] + end) for a in batch["answers"]]
        log_probs = self.mllm.log_probs(self._rows(batch, "train"), answers)
        # each answer weighs the same however long it is
        lengths = torch.tensor([len(a) for a in answers], device=log_probs.device)
        loss = -(log_probs.sum(-1) / lengths.sqrt()).mean() / 1.5
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def transfer_batch_to_device(
        self, batch: dict[str, Any], device: torch.device, dataloader_idx: int
    ) -> dict[str, Any]:
        return {**batch, "index": batch["index"].to(device)}  # the questions stay on the host

    def on_validation_epoch_start(self) -> None:
        self._hits: dict[str, list[float]] = defaultdict(list)

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        if batch.get("preview"):
            return
        rows = [row for row in self._rows(batch, "val") if row.question.options]
        if "template" in batch:  # answers come after a thought, so they have to be said
            texts = self.mllm.generate(rows, _LONGEST_ANSWER).texts
            chosen = [parse_option(t, row.question.options) for t, row in zip(texts, rows, strict=True)]
        else:
            chosen = self.mllm.score_rows(rows).argmax(-1).tolist()
        for row, best in zip(rows, chosen, strict=True):
            self._hits[str(row.question.groups["kind"])].append(float(best == row.question.answer_index))

    def on_validation_epoch_end(self) -> None:
        every = [hit for hits in self._hits.values() for hit in hits]
        self.log("val/accuracy", sum(every) / len(every), prog_bar=True)
        self.log_dict({f"val/{kind}": sum(hits) / len(hits) for kind, hits in self._hits.items()})

    def configure_optimizers(self) -> dict[str, Any]:
        return one_cycle(self.parameters(), self.lr, self.num_steps)

    def on_train_end(self) -> None:
        if self.trainer.is_global_zero:
            self.mllm.model.half().save_pretrained(self.output_dir)
            self.mllm.processor.save_pretrained(self.output_dir)
