"""First stage of the small answerer: its vision tower learns to name what a frame shows.

Every pooled token of a frame is classified on its own, and the class weights of shapes, colours, letters and numbers
are the language model's own word embeddings. So the language model later reads tokens that carry the whole frame and
already lie near the words for it; what is left for it to learn is to compare and to count.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn

from modules.files.paths import ModelPath
from modules.mllms.llava_onevision import LlavaOnevision
from modules.small_stack.blank import write_blank_vlm
from modules.small_stack.pretraining_data import data_of
from modules.small_stack.schedule import one_cycle

_NUM_OTHERS = {"kind": 6, "partner": 6}  # labels whose classes are no words


class TowerPretraining(L.LightningModule):
    """Classification of frames by a LLaVA-OneVision's vision side.

    Args:
        output_dir: where the model is written, blank at the start and trained at the end.
        lr: peak learning rate.
        num_steps: length of the schedule.
        width: of the vision side and of the language model.
        vocab_size: most tokens of the tokenizer.
    """

    def __init__(
        self, *, output_dir: str, lr: float = 1.5e-3, num_steps: int = 3500, width: int = 128, vocab_size: int = 512
    ) -> None:
        super().__init__()
        self.width, self.vocab_size = width, vocab_size
        self.output_dir, self.lr, self.num_steps = output_dir, lr, num_steps
        self.mllm: LlavaOnevision | None = None
        self.scale = nn.Parameter(torch.tensor(10.0))

    def configure_model(self) -> None:
        if self.mllm is not None:
            return
        sentences = data_of(self.trainer).examples.sentences()
        write_blank_vlm(Path(self.output_dir), sentences, width=self.width, vocab_size=self.vocab_size)
        self.mllm = LlavaOnevision(path=ModelPath(self.output_dir)).requires_grad_(False)
        self.mllm.model.model.vision_tower.requires_grad_(True)
        self.mllm.model.model.multi_modal_projector.requires_grad_(True)
        self.words = self.mllm.model.get_input_embeddings().requires_grad_(True)
        width = self.mllm.model.config.text_config.hidden_size
        self.others = nn.ModuleDict({name: nn.Linear(width, n) for name, n in _NUM_OTHERS.items()})
        self.position = nn.Linear(width, 2)

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        tokens = self.mllm.vision_tokens(batch["frames"])  # (N, P, D)
        loss = torch.zeros((), device=self.device)
        for name, target in batch["labels"].items():
            known = target >= 0
            if not known.any():
                continue
            logits, target = self._logits(name, tokens[known], batch["classes"].get(name)), target[known]
            loss = loss + nn.functional.cross_entropy(logits.flatten(0, 1), target.repeat_interleave(tokens.shape[1]))
            accuracy = (logits.argmax(-1) == target[:, None]).float().mean()
            self.log(f"{self._stage}/{name}", accuracy, on_step=self.training, on_epoch=not self.training)
        balls = ~batch["position"].isnan().any(-1)
        if balls.any():
            error = (self.position(tokens[balls]) - batch["position"][balls][:, None]).square().mean()
            self.log(f"{self._stage}/position_mse", error)
            loss = loss + 4 * error
        self.log(f"{self._stage}/loss", loss, prog_bar=True)
        return loss

    def _logits(self, name: str, tokens: Tensor, classes: list[str] | None) -> Tensor:
        """(n, P, D) -> (n, P, classes); the weights are the embeddings of ``classes`` where those are words."""
        if classes is None:
            return self.others[name](tokens)
        ids = [self.mllm.tokenizer(word)["input_ids"][0] for word in classes]
        embeddings: Any = self.words.weight
        return self.scale * tokens @ embeddings[ids].T

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
