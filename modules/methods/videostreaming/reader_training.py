"""Stage 2 of VideoStreaming, on short videos: condenser and reader learn together, and with them the selection.

The paper joins condenser, selection and Vicuna in one stage, which is this one with ``selection``. Without it all
memories of videos of a few clips are read, and which of many clips to read is learnt afterwards (`memory_selection`);
that is how the shipped weights were made. What of all this learns is a key.
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
from modules.methods.videostreaming.chosen_memories import ChosenMemories
from modules.methods.videostreaming.condenser import ClipCondenser
from modules.methods.videostreaming.frame_tokens import MergedPatches
from modules.methods.videostreaming.memories import condenser_state, load_condenser
from modules.methods.videostreaming.memory_reading import MemoryReading
from modules.methods.videostreaming.memory_selection import PREFIX as SELECTION
from modules.methods.videostreaming.memory_selection import MemorySelection
from modules.methods.videostreaming.output_mlp import PREFIX
from modules.methods.videostreaming.pool_tokens import pool_tokens
from modules.mllms.base import FrameTokens, Row
from modules.mllms.loading import merge_adapters
from modules.selection.policies import PlackettLuce
from modules.small_stack.schedule import one_cycle

Part = Literal["condenser", "output", "language_model", "selection"]


class ReaderTraining(L.LightningModule):
    """Next-token training of answers on the memories of short videos.

    Args:
        patches: frame tokens, frozen.
        condenser: makes memories.
        condenser_weights: file to start it from (`PrefixTraining`).
        reader: answers on them; with ``loading.lora`` its adapters are what learns of the language model.
        learns: which parts learn: the condenser, the output MLP between both, the language model that answers, and with
            ``selection`` the two maps by which memories are chosen. How far a gradient runs through clips is the
            condenser's ``detach_history``.
        output: safetensors file for condenser, output MLP and maps; a language model that learns is written beside it.
        selection: reads some of the memories, and the condenser's layers choose them; None reads all.
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
        selection: ChosenMemories | None = None,
        lr: PositiveFloat = 1e-3,
        num_steps: PositiveInt = 1500,
    ) -> None:
        super().__init__()
        if "selection" in learns and selection is None:
            raise ValueError(
                "learns: selection has nothing to learn from where all memories of a short video are read: set "
                "model.selection (recipes/haystack/joint_stage.yaml); recipes/videostreaming.yaml trains it afterwards"
            )
        if newest is not None and selection is not None:
            raise ValueError(f"newest={newest} says which memories are read, and so does selection: only one of them")
        if not learns:
            raise ValueError("learns: nothing would; name one of condenser, output, language_model")
        if condenser_weights is not None:
            load_condenser(condenser, condenser_weights)
        self.patches, self.condenser, self.reader, self.output = patches, condenser, reader, output
        self.learns, self.newest, self.lr, self.num_steps = learns, newest, lr, num_steps
        self.selection = selection
        self.choosing = None
        if selection is not None:
            self.choosing = MemorySelection(condenser=condenser, temperature=selection.temperature)
        if reader.loading.lora is not None and "language_model" not in learns:
            raise ValueError("reader.loading.lora adds layers to the language model, and learns does not name it")
        adapters = [p for name, p in reader.model.named_parameters() if "lora_" in name]
        parts: dict[Part, Iterable[nn.Parameter]] = {
            "condenser": condenser.parameters(),
            "output": reader.output.parameters(),
            "language_model": adapters or reader.model.get_decoder().parameters(),
            "selection": () if self.choosing is None else self.choosing.maps().values(),
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

    def _memories(self, batch: dict[str, Any], stage: str) -> tuple[Tensor, Tensor]:
        """Of all clips, (B, N, 1 + F P, W) with graph, and the seconds (B, N) of their middles."""
        clips = self._tokens[stage][batch["index"]].to(self.device).float()
        start_s = batch["start_s"]
        end_s = start_s + clips.shape[2]
        return self.condenser.read(clips, start_s, end_s), (start_s + end_s).float() / 2

    def _policy(self, batch: dict[str, Any], memories: Tensor) -> PlackettLuce | None:
        if self.choosing is None:
            return None
        mask = torch.ones(memories.shape[:2], dtype=torch.bool, device=memories.device)
        return self.choosing.choice(memories, mask, [question.question for question in batch["questions"]])

    def _rows(
        self, batch: dict[str, Any], memories: Tensor, middle_s: Tensor, policy: PlackettLuce | None
    ) -> tuple[list[Row], Tensor]:
        """What is read, and which clips these are, int64 (B, V)."""
        if policy is None or self.selection is None:
            first = 0 if self.newest is None else max(0, memories.shape[1] - self.newest)
            index = torch.arange(first, memories.shape[1]).expand(len(memories), -1)
            shown = memories[:, first:]
        elif self.training:
            shown, index = self.selection.drawn(policy, memories)
        else:
            shown, index = self.selection.best(policy, memories)
        index = index.cpu()
        times_s = middle_s.gather(1, index)
        read = torch.arange(shown.shape[1])
        questions = enumerate(batch["questions"])
        return [Row(question, FrameTokens(shown[b], times_s[b]), read) for b, question in questions], index

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        memories, middle_s = self._memories(batch, "train")
        policy = self._policy(batch, memories)
        rows, _ = self._rows(batch, memories, middle_s, policy)
        loss = text_nats(self.reader, rows, batch["answers"]).mean()
        self.log("train/loss", loss, prog_bar=True)
        if policy is not None and self.selection is not None:
            divergence = self.selection.divergence(policy, batch["needed"], self.global_step)
            self.log("train/segment_kl_nats", divergence)
            loss = loss + divergence
        return loss

    def on_validation_epoch_start(self) -> None:
        self._hits: dict[str, list[float]] = defaultdict(list)
        self._found: list[float] = []

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        memories, middle_s = self._memories(batch, "val")
        every, index = self._rows(batch, memories, middle_s, self._policy(batch, memories))
        if self.choosing is not None:
            found = batch["needed"].gather(1, index).sum(1) / batch["needed"].sum(1).clamp(min=1)
            self._found += found[batch["needed"].any(1)].tolist()
        rows = [row for row in every if row.question.options]
        for row, best in zip(rows, self.reader.score_rows(rows).argmax(-1).tolist(), strict=True):
            self._hits[str(row.question.groups["kind"])].append(float(best == row.question.answer_index))

    def on_validation_epoch_end(self) -> None:
        every = [hit for hits in self._hits.values() for hit in hits]
        self.log("val/accuracy", sum(every) / len(every), prog_bar=True)
        self.log_dict({f"val/{kind}": sum(hits) / len(hits) for kind, hits in self._hits.items()})
        if self._found:
            self.log("val/evidence_found", sum(self._found) / len(self._found), prog_bar=True)

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
        maps = {} if self.choosing is None else self.choosing.maps()
        chosen_by = {f"{SELECTION}{name}": parameter.data for name, parameter in maps.items()}
        tensors = condenser_state(self.condenser) | output | chosen_by
        save_file({name: tensor.half().cpu().contiguous() for name, tensor in tensors.items()}, path)
        if "language_model" in self.learns:
            merge_adapters(self.reader.model)
            self.reader.model.save_pretrained(path.with_suffix(""))
            self.reader.processor.save_pretrained(path.with_suffix(""))
