"""What a checkpoint costs: seconds and host memory of a save and a load, under a strategy, on the first rank.

    python tests/benchmarks/checkpoint.py zero3 --ranks 2
    python tests/benchmarks/checkpoint.py auto

A model of 8 layers of 2 048 x 2 048 in float32: 128 MiB of weights, a checkpoint of 384 MiB, largest tensor 16 MiB.
Memory is the largest growth of what the process has for itself (RssAnon), read every 2 ms.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch.utils.data import DataLoader, TensorDataset

from modules.distributed.sharding import ShardedStrategy
from modules.rl.optimization import Optimization
from modules.rl.optimizer_step import OptimizerStep, optimizer_step_for

_WIDTH, _LAYERS = 2048, 8


def anonymous_mib() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024


class Peak:
    """Seconds, and the largest growth of memory, of what runs inside."""

    def __enter__(self) -> Peak:
        self._start, self.mib, self._on = anonymous_mib(), 0.0, True
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        self.seconds = -time.perf_counter()
        return self

    def _watch(self) -> None:
        while self._on:
            self.mib = max(self.mib, anonymous_mib() - self._start)
            time.sleep(0.002)

    def __exit__(self, *_: object) -> None:
        self.seconds += time.perf_counter()
        self._on = False
        self._thread.join()


class Model(L.LightningModule):
    """A large part that is trained in shares and a small one that is not."""

    optimization = Optimization(max_grad_norm=1.0)

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.mllm = torch.nn.Sequential(*(torch.nn.Linear(_WIDTH, _WIDTH, bias=False) for _ in range(_LAYERS)))
        self.sampler = torch.nn.Linear(_WIDTH, 8)
        self.updates: OptimizerStep

    def parameter_groups(self) -> list[dict[str, Any]]:
        parts = {"sampler": self.sampler, "mllm": self.mllm}
        return [{"name": name, "params": list(part.parameters())} for name, part in parts.items()]

    def setup(self, stage: str) -> None:
        self.updates = optimizer_step_for(self.trainer.strategy, 1.0, 10)
        install(self.trainer.strategy)

    def training_step(self, batch: list[torch.Tensor], batch_idx: int) -> None:
        loss = self.sampler(self.mllm(batch[0])).square().mean()
        self.updates.backward(self, loss, True)
        self.updates.step(self, loss)

    def configure_optimizers(self) -> dict[str, Any]:
        optimizer = torch.optim.AdamW(self.parameter_groups(), lr=1e-4)
        return {"optimizer": optimizer, "lr_scheduler": torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)}


def install(strategy: Any) -> None:
    """The project's way to disk, as `modules.rl.evolution` chooses it."""
    from modules.checkpoints.checkpoint_files import plain_files

    strategy.checkpoint_io = plain_files(strategy.checkpoint_io)


def measured(trainer: L.Trainer, name: str, action: Callable[[], Any]) -> Any:
    trainer.strategy.barrier()
    with Peak() as peak:
        out = action()
    if trainer.is_global_zero:
        print(f"{name}: {peak.seconds:.2f} s, {peak.mib:.0f} MiB", flush=True)
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("strategy", choices=["auto", "ddp", "zero2", "zero3"])
    parser.add_argument("--ranks", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(1)
    sharded = given.strategy.startswith("zero")
    trainer = L.Trainer(
        accelerator="cpu",
        devices=given.ranks,
        max_steps=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        strategy=ShardedStrategy(stage=int(given.strategy[4])) if sharded else given.strategy,
    )
    model = Model()
    trainer.fit(model, DataLoader(TensorDataset(torch.randn(4, _WIDTH)), 2))
    strategy = trainer.strategy
    with tempfile.TemporaryDirectory() as folder:
        path = strategy.broadcast(str(Path(folder) / "model.ckpt"))
        measured(trainer, "save", lambda: trainer.save_checkpoint(path))

        def load() -> None:
            saved = strategy.load_checkpoint(path, weights_only=True)
            strategy.load_model_state_dict(saved, strict=False)
            strategy.load_optimizer_state_dict(saved)

        measured(trainer, "load", load)
        if trainer.is_global_zero:
            print(f"file: {Path(path).stat().st_size / 2**20:.0f} MiB", flush=True)
        strategy.barrier()


if __name__ == "__main__":
    main()
