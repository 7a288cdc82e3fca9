"""One training of the small joint module under a strategy, in one process or two; writes what came of it."""

from __future__ import annotations

import json
import sys
import threading
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import lightning as L
import torch
from evolution_settings import evolution, terms

from callbacks.watchdog import Watchdog
from datamodules.haystack.datamodule import HaystackData
from datamodules.haystack.world import World
from datamodules.video.decoding_settings import DecodingSettings
from modules.distributed.sharding import ShardedStrategy
from modules.encoders.open_clip import OpenCLIPEncoder
from modules.methods.msjoe.query_writing import PreviewQueries
from modules.methods.msjoe.unet import UNetSampler
from modules.methods.videostreaming.condenser import ClipCondenser
from modules.methods.videostreaming.frame_tokens import MergedPatches
from modules.methods.videostreaming.language_layers import LanguageLayers
from modules.methods.videostreaming.language_reader import LanguageModelReader
from modules.methods.videostreaming.memories import ClipMemories
from modules.methods.videostreaming.memory_selection import MemorySelection
from modules.mllms.llava_onevision import LlavaOnevision
from modules.mllms.loading import Loading, Lora
from modules.mllms.prompt import Prompt
from modules.records import Rollouts
from modules.rewards.accuracy import Accuracy
from modules.rewards.base import Reward
from modules.rewards.format import Format
from modules.rewards.probability import Probability
from modules.rl.grpo import GRPO
from modules.rl.token_training import JointTraining

ROOT = Path(__file__).resolve().parent.parent.parent
WEIGHTS, PROMPTS = ROOT / "recipes/haystack/weights/msjoe", ROOT / "recipes/haystack/prompts"
DEFAULTS: dict[str, Any] = {
    "ranks": 1,
    "strategy": "auto",
    "batch_size": 4,
    "accumulate": 1,
    "max_steps": 1,
    "evolve": "joint",
    "resume": None,
    "every_n_train_steps": 1,
    "dtype": "float32",
    "precision": "32-true",
    "lora": False,
    "loss_type": "grpo",
    "lopsided": False,
    "stall": False,
    "poison": False,
    "test": False,
    "validate": False,
    "num_train_videos": 2,
    "questions_per_video": None,
    "memories": None,
}


class Gradients(L.Callback):
    """Keeps the first step's gradients, whole."""

    def __init__(self, path: Path) -> None:
        self.path, self.done = path, False

    def on_train_batch_end(self, trainer: L.Trainer, module: Any, *_: Any) -> None:
        """Adam's first moment after one step is a tenth of the (clipped) gradient."""
        if trainer.global_step != 1 or self.done:
            return
        self.done = True
        trainer.save_checkpoint(self.path)
        if trainer.is_global_zero:
            checkpoint = torch.load(self.path, weights_only=True)
            (states,) = checkpoint["optimizer_states"]
            names = [
                n
                for g in module.parameter_groups()
                for p in g["params"]
                for n, q in module.named_parameters()
                if q is p
            ]
            moments = {n: states["state"][i]["exp_avg"] for i, n in enumerate(names)}
            torch.save({"gradients": moments, "weights": checkpoint["state_dict"]}, self.path)


class Dtypes(L.Callback):
    """Keeps in which precision what lies: parameters, their gradients as they come, what the optimizer steps."""

    def __init__(self, path: Path) -> None:
        self.path, self.seen = path, defaultdict(set)

    def _note(self, part: str, tensors: Iterable[torch.Tensor]) -> None:
        self.seen[part] |= {str(t.dtype).removeprefix("torch.") for t in tensors}

    def on_train_start(self, trainer: L.Trainer, module: Any) -> None:
        for part in ("sampler", "mllm"):
            for parameter in getattr(module, part).parameters():
                if parameter.requires_grad:
                    parameter.register_hook(lambda gradient, part=part: self._note(f"{part} gradients", [gradient]))

    def on_train_batch_end(self, trainer: L.Trainer, module: Any, *_: Any) -> None:
        parameters = list(module.mllm.parameters())
        self._note("sampler", module.sampler.parameters())
        self._note("mllm trained", (p for p in parameters if p.requires_grad))
        self._note("mllm frozen", (p for p in parameters if not p.requires_grad))
        optimizers = [trainer.optimizers[0]]
        if isinstance(trainer.strategy, ShardedStrategy):
            optimizers.append(trainer.strategy.model.optimizer.optimizer)
        for optimizer in optimizers:
            self._note("stepped", optimizer.state)
            self._note("moments", (s["exp_avg"] for s in optimizer.state.values() if "exp_avg" in s))
        if trainer.is_global_zero:
            self.path.write_text(json.dumps({part: sorted(seen) for part, seen in self.seen.items()}))


class Lopsided(L.Callback):
    """The second rank generates everything twice: ranks run different numbers of forwards."""

    def on_fit_start(self, trainer: L.Trainer, module: Any) -> None:
        real = module.mllm.generate
        if trainer.global_rank == 1:
            module.mllm.generate = lambda *words, **keys: (real(*words, **keys), real(*words, **keys))[1]


class Poison(L.Callback):
    """The first gradient of one of the MLLM's weights is not a number, on the second rank."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def setup(self, trainer: L.Trainer, module: Any, stage: str) -> None:
        torch.save({n: p.detach().clone() for n, p in module.named_parameters() if p.requires_grad}, self.path)

    def on_train_start(self, trainer: L.Trainer, module: Any) -> None:
        weight = next(p for n, p in module.mllm.named_parameters() if p.requires_grad and "q_proj" in n)
        if trainer.global_rank == 1:
            weight.register_hook(lambda gradient: gradient * (torch.nan if trainer.global_step == 0 else 1.0))


class Stall(L.Callback):
    """The second rank never comes to the second batch."""

    def on_train_batch_start(self, trainer: L.Trainer, module: Any, batch: Any, batch_idx: int) -> None:
        if trainer.global_rank == 1 and batch_idx == 1:
            threading.Event().wait()


def on_frames(loading: Loading) -> dict[str, Any]:
    """MSJoE: queries are written, and frames found by them."""
    prompt = Prompt(answer_with="words", question_first=True, template=str(PROMPTS / "answer.txt"))
    return {
        "sampler": UNetSampler(channels=(8, 16), similarity_init=1.0),
        "mllm": LlavaOnevision(path=str(WEIGHTS / "vlm"), prompt=prompt, loading=loading),
        "rewards": terms(Probability(), Accuracy(by="text"), Format()),
        "query_writer": PreviewQueries(template=str(PROMPTS / "queries.txt"), preview_tokens=1, max_new_tokens=12),
        "store_frame_tokens": True,
    }


def on_memories(models: Path, loading: Loading) -> dict[str, Any]:
    """VideoStreaming: a Phi's layers choose memories, and a Llama answers on them."""
    return {
        "sampler": MemorySelection(condenser=condenser(models)),
        "mllm": LanguageModelReader(
            path=str(models / "llama"), memory_dim=32, memory_tokens=32, loading=loading, prompt=Prompt(instruction="")
        ),
        "rewards": terms(Probability(), Vowels()),
    }


def condenser(models: Path) -> ClipCondenser:
    torch.manual_seed(5)
    layers = LanguageLayers(path=str(models / "phi"), num_layers=2, head=False)
    return ClipCondenser(layers=layers, token_dim=128, clip_frames=8)


class Vowels(Reward):
    """Their number in what was said: a blank model is never right, and its rollouts have to differ in something."""

    needs_text, needs_options = True, False

    def __call__(self, rollouts: Rollouts) -> torch.Tensor:
        assert rollouts.texts is not None
        counts = [[sum(c in "aeiou" for c in text) for text in texts] for texts in rollouts.texts]
        return torch.tensor(counts, dtype=torch.float32)


def strategy_of(name: str) -> Any:
    if not name.startswith("zero"):
        return name
    offload = name.endswith("offload")
    return ShardedStrategy(stage=int(name[4]), offload_optimizer=offload, offload_parameters=offload)


def main(folder: Path, settings: dict[str, Any]) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    joint = settings["evolve"] == "joint"
    loading = Loading(dtype=settings["dtype"], lora=Lora(r=4) if settings["lora"] else None)
    if settings["memories"] is None:
        encoder, parts = OpenCLIPEncoder(model=f"local-dir:{WEIGHTS}/clip"), on_frames(loading)
    else:
        models = Path(settings["memories"])
        encoder = ClipMemories(patches=MergedPatches(path=str(models / "clip")), condenser=condenser(models))
        parts = on_memories(models, loading)
    data = HaystackData(
        world=World(seed=7, duration_s=100.0, event_duration_s=(2.0, 2.5)),
        root=str(folder.parent / "videos"),
        feature_dir=str(folder.parent / "features"),
        decoding=DecodingSettings(num_workers=1),
        num_val_videos=1,
        num_train_videos=settings["num_train_videos"],
        questions_per_video=settings["questions_per_video"],
        eval_batch_size=1 if settings["validate"] else 32,
        num_test_videos=1,
        batch_size=settings["batch_size"],
        encoder=encoder,
    )
    module = evolution(
        **parts,
        evolve=settings["evolve"],
        joint=JointTraining(learning_rate=1e-4, loss_type=settings["loss_type"]),
        grpo=GRPO(num_generations=4, loss_type="grpo"),
        num_frames=4,
        learning_rate=1e-3,
        lr_scheduler_type="constant",
        max_new_tokens=8,
        grade_by="text",
        accumulate=settings["accumulate"],
        max_grad_norm=1e6,
        rows_per_forward=3,
    )
    callbacks: list[L.Callback] = [
        Dtypes(folder / "dtypes.json"),
        L.pytorch.callbacks.ModelCheckpoint(
            dirpath=folder, filename="{step}", every_n_train_steps=settings["every_n_train_steps"], save_top_k=-1
        ),
    ]
    if settings["lopsided"]:
        callbacks.append(Lopsided())
    callbacks.append(Poison(folder / "start.pt") if settings["poison"] else Gradients(folder / "first_step.pt"))
    if settings["stall"]:
        callbacks += [Stall(), Watchdog(run_dir=str(folder), timeout_s=15.0)]
    trainer = L.Trainer(
        accelerator="cpu",
        devices=settings["ranks"],
        strategy=strategy_of(settings["strategy"]),
        callbacks=callbacks,
        max_steps=settings["max_steps"],
        max_epochs=-1,
        logger=False,
        num_sanity_val_steps=0,
        limit_val_batches=1.0 if settings["validate"] else 0,
        val_check_interval=1,
        check_val_every_n_epoch=None,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        precision=settings["precision"],
    )
    trainer.fit(module, datamodule=data, ckpt_path=settings["resume"], weights_only=True)
    if settings["test"]:
        trainer.test(module, datamodule=data, verbose=False)
    if trainer.is_global_zero:
        found = {name: float(value) for name, value in trainer.callback_metrics.items()}
        (folder / "done.json").write_text(json.dumps({"step": trainer.global_step, "joint": joint, **found}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), DEFAULTS | json.loads(sys.argv[2]))
