"""First stage of the small answerer: its vision tower learns to name what a frame shows.

Vision tower, projector and pooling are trained together through linear heads on the pooled tokens, so that the
language model later reads tokens in which everything it has to say is a linear function away.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn

from modules.mllms.llava_onevision import LlavaOnevision
from modules.pretraining.blank import write_blank_vlm
from modules.pretraining.schedule import one_cycle

_NUM_CLASSES = {"kind": 6, "colour": 6, "shape": 9, "glyph": 6, "dots": 6, "partner": 6}


class TowerPretraining(L.LightningModule):
    """Classification of frames by a LLaVA-OneVision's vision side.

    Args:
        sentences: what the tokenizer of the blank model is trained on.
        output_dir: where the model is written, blank at the start and trained at the end.
        lr: peak learning rate.
        num_steps: length of the schedule.
    """

    def __init__(self, *, sentences: list[str], output_dir: str, lr: float = 1.5e-3, num_steps: int = 2500) -> None:
        super().__init__()
        self.output_dir, self.lr, self.num_steps = output_dir, lr, num_steps
        write_blank_vlm(Path(output_dir), sentences)
        self.mllm = LlavaOnevision(path=output_dir).requires_grad_(False)
        self.mllm.model.model.vision_tower.requires_grad_(True)
        self.mllm.model.model.multi_modal_projector.requires_grad_(True)
        width = 4 * self.mllm.model.config.text_config.hidden_size
        self.heads = nn.ModuleDict({name: nn.Linear(width, n) for name, n in _NUM_CLASSES.items()})
        self.position = nn.Linear(width, 2)

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        tokens = self.mllm.vision_tokens(batch["frames"])
        # LlavaOnevision feeds tokens beside word embeddings of norm ~ 0.02 sqrt(D); unit-scale tokens drown those less
        pooled = tokens.flatten(1)
        loss = torch.zeros((), device=self.device)
        for name, head in self.heads.items():
            logits, target = head(pooled), batch["labels"][name]
            known = target >= 0
            if known.any():
                loss = loss + nn.functional.cross_entropy(logits[known], target[known])
                accuracy = (logits[known].argmax(-1) == target[known]).float().mean()
                self.log(f"{self._stage}/{name}", accuracy, on_step=self.training, on_epoch=not self.training)
        balls = ~batch["position"].isnan().any(-1)
        if balls.any():
            error = (self.position(pooled[balls]) - batch["position"][balls]).square().mean()
            self.log(f"{self._stage}/position_mse", error)
            loss = loss + 4 * error
        self.log(f"{self._stage}/loss", loss, prog_bar=True)
        return loss

    @property
    def _stage(self) -> str:
        return "train" if self.training else "val"

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        self.training_step(batch, batch_idx)

    def configure_optimizers(self) -> dict[str, Any]:
        return one_cycle(self.parameters(), self.lr, self.num_steps)

    def on_train_end(self) -> None:
        if self.trainer.is_global_zero:
            self.mllm.model.save_pretrained(self.output_dir)
