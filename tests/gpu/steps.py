"""Takes a case's steps and measures them: seconds by part, tokens a second, share of the card's peak, peak memory."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import lightning as L
import torch
from cases import Case

from modules.mllms.base import FrameTokens, Row
from recipes.launcher.cost.gpus import gpu_of_device
from recipes.launcher.cost.memory import phases
from recipes.launcher.cost.time import step_parts

_ACCELERATORS = {"cuda": "gpu"}


@dataclass
class Measured:
    """Of the steps behind the first."""

    parts_s: dict[str, float]
    """Medians, by part of a step."""
    step_s: float
    tokens_per_s: float | None
    """Of the language model, read and written; None where the card is not known."""
    peak_share: float | None
    """Of the card's dense bfloat16 FLOP/s."""
    peak_memory_gib: float | None
    """None where the device does not tell."""
    estimated_gib: float
    """By ``check --memory``."""
    estimated_s: float | None
    """By ``check --time``."""


@dataclass
class Watch(L.Callback):
    """Times of every step, all work of the device done."""

    device: torch.device
    parts: list[dict[str, float]] = field(default_factory=list)
    totals: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)

    def on_fit_start(self, trainer: L.Trainer, module: Any) -> None:
        stopwatch = module.answering.stopwatch
        stopwatch.timed = synchronised(stopwatch.timed, self.device)

    def on_train_batch_start(self, *_: Any) -> None:
        wait_for(self.device)
        if len(self.totals) == 1 and self.device.type == "cuda":  # the first step makes Adam's states and workspaces
            torch.cuda.reset_peak_memory_stats()
        self.started = time.perf_counter()

    def on_train_batch_end(self, trainer: L.Trainer, module: Any, *_: Any) -> None:
        wait_for(self.device)
        self.totals.append(time.perf_counter() - self.started)
        self.parts.append({k: v for k, v in module.answering.stopwatch.seconds.items() if k != "total"})
        self.losses.append(float(trainer.callback_metrics["train/loss"]))


def synchronised(timed: Any, device: torch.device) -> Any:
    """`Stopwatch.timed`, which counts what the device has done, not what it was handed."""

    @contextmanager
    def waiting(part: str) -> Iterator[None]:
        wait_for(device)
        with timed(part):
            yield
            wait_for(device)

    return waiting


def wait_for(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize()


def take_steps(case: Case, folder: Path, device: torch.device, num_steps: int) -> tuple[Any, Watch]:
    """Trains for so many steps; the module and what was watched."""
    module = case.module(folder, device)
    watch = Watch(device)
    trainer = L.Trainer(
        accelerator=_ACCELERATORS.get(device.type, device.type),
        devices=1,
        strategy=case.strategy(device),
        callbacks=[watch],
        max_steps=num_steps,
        max_epochs=-1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        default_root_dir=str(folder),
    )
    trainer.fit(module, datamodule=case.videos())
    return module, watch


def measure(case: Case, folder: Path, device: torch.device, num_steps: int) -> Measured:
    """One warm-up and so many steps."""
    module, watch = take_steps(case, folder, device, 1 + num_steps)
    peak = torch.cuda.max_memory_allocated() / 2**30 if device.type == "cuda" else None
    work = case.workload(folder, _prompt_tokens(module, case))
    gpu = gpu_of_device(torch.cuda.get_device_name()) if device.type == "cuda" else None
    step_s = median(watch.totals[1:])
    parts = {name: median(p[name] for p in watch.parts[1:]) for name in watch.parts[-1]}
    estimated = [] if gpu is None else step_parts(work, gpu)
    return Measured(
        parts_s=parts,
        step_s=step_s,
        tokens_per_s=sum(p.tokens for p in estimated) / step_s if gpu else None,
        peak_share=sum(p.flops for p in estimated) / step_s / (1e12 * gpu.peak_tflops) if gpu else None,
        peak_memory_gib=peak,
        estimated_gib=max(p.total for p in phases(work) if p.name != "extract") / 2**30,
        estimated_s=sum(p.seconds for p in estimated) if gpu else None,
    )


def _prompt_tokens(module: Any, case: Case) -> int:
    """Of a question without its frames."""
    question = next(iter(case.videos().train_dataloader())).questions[0]
    blind = Row(question, FrameTokens(torch.empty(0), torch.empty(0)), torch.empty(0, dtype=torch.int64))
    return len(module.mllm.prompt_ids(blind, None))
