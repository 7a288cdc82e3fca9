"""Trains the small open_clip model: frames and texts that fit each other, many to many.

InfoNCE (CLIP) with the target of each row spread evenly over everything that fits; texts closer than a cosine of 0.5
also repel one another, but where they differ in their wording alone: those attract up to a cosine of 0.9.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import open_clip
import torch
from torch import Tensor

from modules.encoders.open_clip import OpenCLIPEncoder
from modules.files.paths import ModelPath
from modules.small_stack.blank import save_open_clip, write_blank_clip
from modules.small_stack.pretraining_data import data_of
from modules.small_stack.schedule import one_cycle

_CLOSE_ENOUGH, _ALIKE_ENOUGH = 0.5, 0.9


def repulsion_of(text: Tensor, meanings: Tensor) -> Tensor:
    """Mean of relu(cosine - 0.5)^2 over texts of different meanings, plus that of relu(0.9 - cosine)^2 over others.

    A policy tells questions apart by direction alone, also those that fit the same frames ("first", "last"), and has to
    know one that is worded anew.

    Args:
        text: (T, D) of unit length.
        meanings: int64 (T,), equal where texts differ in their wording alone.

    Returns:
        (), 0 or more.
    """
    cosine, distinct = text @ text.T, meanings[:, None] != meanings
    repulsion = cosine[distinct].sub(_CLOSE_ENOUGH).relu().square().mean()
    reworded = torch.triu(~distinct, diagonal=1)
    if reworded.any():
        repulsion = repulsion + (_ALIKE_ENOUGH - cosine[reworded]).relu().square().mean()
    return repulsion


class ContrastivePretraining(L.LightningModule):
    """Contrastive training of an open_clip model.

    Args:
        output_dir: where the model is written, blank at the start and trained at the end.
        lr: peak learning rate.
        num_steps: length of the schedule.
        text_repulsion: weight of the term that spreads the texts.
        vocab_size: most tokens of the tokenizer.
    """

    def __init__(
        self,
        *,
        output_dir: str,
        lr: float = 1.5e-3,
        num_steps: int = 2500,
        text_repulsion: float = 20.0,
        vocab_size: int = 512,
    ) -> None:
        super().__init__()
        self.vocab_size = vocab_size
        self.output_dir, self.lr, self.num_steps, self.text_repulsion = output_dir, lr, num_steps, text_repulsion
        self.encoder: OpenCLIPEncoder | None = None

    def configure_model(self) -> None:
        if self.encoder is None:
            sentences = data_of(self.trainer).examples.sentences()
            write_blank_clip(Path(self.output_dir), sentences, vocab_size=self.vocab_size)
            self.encoder = OpenCLIPEncoder(model=ModelPath(f"local-dir:{self.output_dir}")).requires_grad_(True)

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        clip: open_clip.CLIP = self.encoder.model
        image = clip.encode_image(self.encoder.preprocess(batch["frames"]), normalize=True)
        text = clip.encode_text(self.encoder.tokenize(batch["texts"]), normalize=True)
        logits = text @ image.T * clip.logit_scale.exp().clamp(max=100)
        matches = batch["matches"].float()
        per_text = -(matches / matches.sum(1, keepdim=True) * logits.log_softmax(1)).sum(1).mean()
        has_text = matches.sum(0) > 0
        per_frame = -((matches / matches.sum(0).clamp(min=1)) * logits.log_softmax(0)).sum(0)[has_text].mean()
        repulsion = repulsion_of(text, batch.get("meanings", torch.arange(len(text))).to(text.device))
        loss = (per_text + per_frame) / 2 + self.text_repulsion * repulsion
        hit = matches.gather(1, logits.argmax(1, keepdim=True)).mean()
        stage = "train" if self.training else "val"
        metrics = {"loss": loss, "text_to_frame": hit, "repulsion": repulsion}
        self.log_dict({f"{stage}/{k}": v for k, v in metrics.items()}, prog_bar=True, batch_size=len(image))
        return loss

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        self.training_step(batch, batch_idx)

    def configure_optimizers(self) -> dict[str, Any]:
        return one_cycle(self.parameters(), self.lr, self.num_steps)

    def on_train_end(self) -> None:
        if self.trainer.is_global_zero:
            save_open_clip(self.encoder.model, Path(self.output_dir), torch.float16)
