"""Stage 2 of VideoStreaming, on short videos: condenser and reader learn together, all memories being read.

The paper joins condenser, selection and Vicuna in one stage. Here what the memories say is learnt on videos of so few
clips that all of them are read, from the loss of the answers alone; which of many clips to read is learnt afterwards
(`memory_selection`). What of the three learns is a key.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import lightning as L
import torch
from jsonargparse.typing import PositiveFloat, PositiveInt
from lightning.pytorch.strategies import DeepSpeedStrategy
from safetensors.torch import save_file
from torch import Tensor, nn

from modules.distributed.precision import settle_precision
from modules.files.paths import InputPath
from modules.methods.videostreaming.answer_nats import text_nats
from modules.methods.videostreaming.condenser import ClipCondenser
from modules.methods.videostreaming.frame_tokens import MergedPatches
from modules.methods.videostreaming.memories import condenser_state, load_condenser
from modules.methods.videostreaming.memory_reading import MemoryReading
from modules.methods.videostreaming.output_mlp import PREFIX
from modules.methods.videostreaming.pool_tokens import pool_tokens
from modules.mllms.base import FrameTokens, Row
from modules.mllms.loading import merge_adapters
from modules.small_stack.schedule import one_cycle

Part = Literal["condenser", "output", "language_model", "selection"]


class ReaderTraining(L.LightningModule):
    """Next-token training of answers on the memories of short videos.

    Args:
        patches: frame tokens, frozen.
        condenser: makes memories.
        condenser_weights: file to start it from (`PrefixTraining`).
        reader: answers on them; with ``loading.lora`` its adapters are what learns of the language model.
        learns: which parts learn: the condenser, the output MLP between both, the language model that answers. How far
            a gradient runs through clips is the condenser's ``detach_history``.
        output: safetensors file for condenser and output MLP; a language model that learns is written beside it.
        newest: memories that are read, the last of a video; None reads all. What came before those is known only as
            far as it is handed on from memory to memory.
        lr: peak learning rate.
        num_steps: length of the schedule.
    """

    def __init__(
        self,
        *,
        patches: MergedPatches,
        condenser: ClipCondenser,
        reader: MemoryReading,
        output: str,
        condenser_weights: InputPath | None = None,
        learns: tuple[Part, ...] = ("condenser", "output"),
        newest: PositiveInt | None = None,
        lr: PositiveFloat = 1e-3,
        num_steps: PositiveInt = 1500,
    ) -> None:
        super().__init__()
        if "selection" in learns:
            raise ValueError(
                "learns: selection has nothing to learn from here, where all memories of a short video are read; "
                "recipes/videostreaming.yaml trains it, with model.evolve: joint together with the language model"
            )
        if not learns:
            raise ValueError("learns: nothing would; name one of condenser, output, language_model")
        if condenser_weights is not None:
            load_condenser(condenser, condenser_weights)
        self.patches, self.condenser, self.reader, self.output = patches, condenser, reader, output
        self.learns, self.newest, self.lr, self.num_steps = learns, newest, lr, num_steps
        if reader.loading.lora is not None and "language_model" not in learns:
            raise ValueError("reader.loading.lora adds layers to the language model, and learns does not name it")
        adapters = [p for name, p in reader.model.named_parameters() if "lora_" in name]
        parts: dict[Part, Iterable[nn.Parameter]] = {
            "condenser": condenser.parameters(),
            "output": reader.output.parameters(),
            "language_model": adapters or reader.model.get_decoder().parameters(),
        }
        reader.requires_grad_(False)
        for name, part in parts.items():
            for parameter in part:
                parameter.requires_grad_(name in learns)
        self._tokens: dict[str, Tensor] = {}

    def setup(self, stage: str) -> None:
        strategy: Any = self.trainer.strategy
        if isinstance(strategy, DeepSpeedStrategy):
            raise ValueError(
                "this stage keeps every parameter whole on each rank: trainer.strategy ddp, with reader.loading.lora "
                "where the language model is large; joint training (model.evolve: joint) is what ZeRO shards"
            )
        settle_precision(strategy, self.reader)
        self._tokens = pool_tokens(self.patches, self.trainer)

    def _rows(self, batch: dict[str, Any], stage: str) -> list[Row]:
        clips = self._tokens[stage][batch["index"]].to(self.device).float()
        start_s = batch["start_s"]
        end_s = start_s + clips.shape[2]
        memories = self.condenser.read(clips, start_s, end_s)
        read, middle_s = torch.arange(clips.shape[1]), (start_s + end_s).float() / 2
        if self.newest is not None:
            read = read[-self.newest :]
        return [
            Row(question, FrameTokens(memories[b], middle_s[b]), read) for b, question in enumerate(batch["questions"])
        ]

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        loss = text_nats(self.reader, self._rows(batch, "train"), batch["answers"]).mean()
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def on_validation_epoch_start(self) -> None:
        self._hits: dict[str, list[float]] = defaultdict(list)

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        rows = [row for row in self._rows(batch, "val") if row.question.options]
        for row, best in zip(rows, self.reader.score_rows(rows).argmax(-1).tolist(), strict=True):
            self._hits[str(row.question.groups["kind"])].append(float(best == row.question.answer_index))

    def on_validation_epoch_end(self) -> None:
        every = [hit for hits in self._hits.values() for hit in hits]
        self.log("val/accuracy", sum(every) / len(every), prog_bar=True)
        self.log_dict({f"val/{kind}": sum(hits) / len(hits) for kind, hits in self._hits.items()})

    def transfer_batch_to_device(
        self, batch: dict[str, Any], device: torch.device, dataloader_idx: int
    ) -> dict[str, Any]:
        return batch  # indices into tokens on the host

    def configure_optimizers(self) -> dict[str, Any]:
        return one_cycle(self.parameters(), self.lr, self.num_steps)

    def on_train_end(self) -> None:
        if not self.trainer.is_global_zero:
            return
        path = Path(self.output)
        path.parent.mkdir(parents=True, exist_ok=True)
        output = {f"{PREFIX}{name}": parameter.data for name, parameter in self.reader.output.named_parameters()}
        tensors = condenser_state(self.condenser) | output
        save_file({name: tensor.half().cpu().contiguous() for name, tensor in tensors.items()}, path)
        if "language_model" in self.learns:
            merge_adapters(self.reader.model)
            self.reader.model.save_pretrained(path.with_suffix(""))
            self.reader.processor.save_pretrained(path.with_suffix(""))
