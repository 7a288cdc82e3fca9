"""How parameters are stepped on: AdamW, the schedule of its learning rate, and what ends a run that diverges."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from transformers import get_scheduler

from modules.selection.base import FrameSampler

SchedulerType = Literal["linear", "cosine", "constant", "constant_with_warmup"]


@dataclass(frozen=True, kw_only=True)
class Optimization:
    """AdamW and its schedule, which spans ``trainer.max_steps`` updates.

    Args:
        learning_rate: the greatest, of the sampler; the MLLM's is ``joint.learning_rate``.
        lr_scheduler_type: how it goes on after the warm-up: to 0 along a line or a cosine, or not at all.
        warmup_steps: updates in which it rises from 0.
        weight_decay: of the sampler's parameters.
        max_grad_norm: gradients of each parameter group are clipped to it.
        accumulate: batches an update. All of them are rolled out first, since ``dapo`` and ``cispo`` are means over the
            positions of all of them, on all ranks.
        max_nonfinite_steps: stop after so many steps in a row with a loss or gradient that is not finite.
    """

    learning_rate: float = 5e-4
    lr_scheduler_type: SchedulerType = "linear"
    warmup_steps: int = 0
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    accumulate: int = 1
    max_nonfinite_steps: int = 10

    def __post_init__(self) -> None:
        for name in ("learning_rate", "max_grad_norm"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name}={getattr(self, name)}: above 0")
        for name in ("warmup_steps", "weight_decay"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}={getattr(self, name)}: 0 or more")
        for name in ("accumulate", "max_nonfinite_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: at least 1")

    def groups_of(self, sampler: FrameSampler) -> list[dict[str, Any]]:
        """The parameters of a sampler as named groups of an optimizer."""
        return [
            {
                "name": f"sampler_{part}" if part else "sampler",
                "params": group.parameters,
                "lr": float(self.learning_rate) * group.lr_share,
                "weight_decay": float(self.weight_decay),
            }
            for part, group in sampler.parameter_groups().items()
        ]

    def schedule(
        self, max_steps: int | None, *, warmup_steps: int | None = None, freeze_steps: int = 0
    ) -> Callable[[int], float]:
        """A parameter group's learning rate as a share of its greatest, by update.

        Args:
            max_steps: updates of the run; None where it has no end.
            warmup_steps: of the group, after it was frozen; the sampler's by default.
            freeze_steps: updates at the start in which it is 0.

        Raises:
            ValueError: the schedule needs an end, and there is none.
        """
        if max_steps is None and self.lr_scheduler_type not in ("constant", "constant_with_warmup"):
            raise ValueError(
                f"lr_scheduler_type {self.lr_scheduler_type!r} needs trainer.max_steps, to know where it ends"
            )
        stand_in = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
        rest = None if max_steps is None else max_steps - freeze_steps
        warmup = self.warmup_steps if warmup_steps is None else warmup_steps
        share = get_scheduler(self.lr_scheduler_type, stand_in, warmup, rest).lr_lambdas[0]
        return lambda step: 0.0 if step < freeze_steps else float(share(step - freeze_steps))
