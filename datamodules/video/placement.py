"""Where frozen encoders compute: on the accelerator while they are needed, in their own precision."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext

import torch
from lightning import Trainer
from torch import nn


def device_of(trainer: Trainer | None) -> torch.device:
    """The trainer's device; without a trainer the accelerator that is there, or else the CPU."""
    if trainer is not None:
        return trainer.strategy.root_device
    found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    return found or torch.device("cpu")


@contextmanager
def placed(encoders: Sequence[nn.Module], device: torch.device) -> Iterator[None]:
    """Inside, encoders lie on a device; afterwards each is back where it was, and the device's memory is free again."""
    homes = [_where(encoder) for encoder in encoders]
    try:
        for encoder in encoders:
            move(encoder, device)
        yield
    finally:
        for encoder, home in zip(encoders, homes, strict=True):
            move(encoder, home)


def move(encoder: nn.Module, device: torch.device) -> None:
    """Moves an encoder, unless it lies there."""
    here = _where(encoder)
    if here.type != device.type or (None not in (here.index, device.index) and here.index != device.index):
        encoder.to(device)


@contextmanager
def own_precision(device: torch.device) -> Iterator[None]:
    """Inside, a trainer's mixed or half precision does not reach what is computed.

    What an encoder makes of a text must not depend on whether it is asked before training or in a step of it.
    """
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        casts = torch.is_autocast_enabled(device.type)
        with torch.autocast(device.type, enabled=False) if casts else nullcontext():
            yield
    finally:
        torch.set_default_dtype(default)


def _where(encoder: nn.Module) -> torch.device:
    """Of its first parameter; one without parameters is at home on the CPU."""
    return next((p.device for p in encoder.parameters()), torch.device("cpu"))
