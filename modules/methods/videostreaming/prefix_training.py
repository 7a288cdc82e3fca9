"""Stage 1 of VideoStreaming: a condenser learns to summarise clips by the prefix task (paper, section 3.3).

The same small language model reads a clip, its summaries, a question and the answer; the question sees the summaries
only (`prefix_mask`), and the loss is that of the answer's tokens. A share of the questions sees nothing but the global
token instead, so that the indicator, too, says what a clip shows; the paper does not do that.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import lightning as L
import torch
from jsonargparse.typing import PositiveFloat, PositiveInt
from safetensors.torch import save_file
from torch import Tensor

from modules.methods.videostreaming.condenser import ClipCondenser, Stream
from modules.methods.videostreaming.frame_tokens import MergedPatches
from modules.methods.videostreaming.memories import condenser_state
from modules.methods.videostreaming.pool_tokens import pool_tokens
from modules.methods.videostreaming.prefix_mask import indicator_mask, prefix_mask
from modules.small_stack.schedule import one_cycle


class PrefixTraining(L.LightningModule):
    """Next-token training of answers through the summaries of one clip.

    Args:
        patches: frame tokens, frozen.
        condenser: learns.
        output: safetensors file that its weights are written to.
        lr: peak learning rate.
        num_steps: length of the schedule.
        indicator_frac: share of the examples whose text sees the global token in place of the summaries.
    """

    def __init__(
        self,
        *,
        patches: MergedPatches,
        condenser: ClipCondenser,
        output: str,
        lr: PositiveFloat = 1e-3,
        num_steps: PositiveInt = 1500,
        indicator_frac: float = 0.3,
    ) -> None:
        super().__init__()
        if condenser.layers.head is None:
            raise ValueError("the prefix task reads the condenser's output head: layers.head has to be true here")
        self.patches, self.condenser, self.output = patches, condenser, output
        self.lr, self.num_steps, self.indicator_frac = lr, num_steps, indicator_frac
        self._tokens: dict[str, Tensor] = {}

    def setup(self, stage: str) -> None:
        self._tokens = pool_tokens(self.patches, self.trainer)

    def _log_probs(self, batch: dict[str, Any], stage: str, answers: list[str], by_indicator: Tensor) -> Tensor:
        """Log-probability (nats) of each answer, float32 (B,), each token's share as in `AnswerPretraining`."""
        frames = self._tokens[stage][batch["index"][:, 0]].to(self.device).float()
        start_s = batch["start_s"][:, 0].tolist()
        clip = self.condenser.sequence(frames, start_s, [s + frames.shape[1] for s in start_s], Stream())
        layers = self.condenser.layers
        texts = [prompt_of(q.question) for q in batch["questions"]]
        text, real, ids, is_answer = layers.embed_pairs(texts, answers)
        before, after = clip.num_before, text.shape[1]
        masks = [
            make(before, self.condenser.num_summaries, after, self.device) for make in (prefix_mask, indicator_mask)
        ]
        sees = torch.where(by_indicator.to(self.device)[:, None, None], masks[1], masks[0])
        states = layers(torch.cat([clip.embeddings, text], 1), torch.cat([clip.real, real], 1), sees)[:, -after:]
        assert layers.head is not None
        logits = layers.head(states[:, :-1]).float()
        log_probs = logits.log_softmax(-1).gather(-1, ids[:, 1:, None])[..., 0]
        return (log_probs * is_answer[:, 1:]).sum(1) / is_answer.sum(1).sqrt()

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        size = len(batch["questions"])
        by_indicator = torch.arange(size) < round(self.indicator_frac * size)
        log_probs = self._log_probs(batch, "train", batch["answers"], by_indicator)
        loss = -log_probs.mean()
        self.log("train/loss", loss, prog_bar=True)
        if bool(by_indicator.any()):
            self.log("train/loss_of_indicator", -log_probs[by_indicator].mean())
        return loss

    def on_validation_epoch_start(self) -> None:
        self._hits: dict[str, list[float]] = defaultdict(list)

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        rows = [r for r, q in enumerate(batch["questions"]) if q.options]
        part = {
            "questions": [batch["questions"][r] for r in rows],
            "index": batch["index"][rows],
            "start_s": batch["start_s"][rows],
        }
        for name, told in (("accuracy", False), ("accuracy_of_indicator", True)):
            by_indicator = torch.full((len(rows),), told)
            scores = torch.stack(
                [
                    self._log_probs(part, "val", [q.options[o] for q in part["questions"]], by_indicator)
                    for o in range(len(part["questions"][0].options))
                ],
                1,
            )
            for question, best in zip(part["questions"], scores.argmax(1).tolist(), strict=True):
                self._hits[name].append(float(best == question.answer_index))

    def on_validation_epoch_end(self) -> None:
        self.log_dict({f"val/{name}": sum(hits) / len(hits) for name, hits in self._hits.items()}, prog_bar=True)

    def transfer_batch_to_device(
        self, batch: dict[str, Any], device: torch.device, dataloader_idx: int
    ) -> dict[str, Any]:
        return batch  # indices into tokens on the host

    def configure_optimizers(self) -> dict[str, Any]:
        return one_cycle(self.condenser.parameters(), self.lr, self.num_steps)

    def on_train_end(self) -> None:
        if self.trainer.is_global_zero:
            Path(self.output).parent.mkdir(parents=True, exist_ok=True)
            save_file({n: t.half().cpu().contiguous() for n, t in condenser_state(self.condenser).items()}, self.output)


def prompt_of(question: str) -> str:
    """A question as the condenser's language layers read it."""
    return f"user {question} assistant"
