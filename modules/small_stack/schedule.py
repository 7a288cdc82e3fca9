"""The one optimizer and schedule of the small stack: AdamW, one-cycle."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn


def one_cycle(
    parameters: Iterable[nn.Parameter], lr: float, num_steps: int, *, warmup_frac: float = 0.1, beta2: float = 0.999
) -> dict[str, Any]:
    """AdamW (weight decay 0.05) under a one-cycle schedule of ``num_steps`` that rises to ``lr`` and falls."""
    optimizer = torch.optim.AdamW(
        [p for p in parameters if p.requires_grad], lr=lr, betas=(0.9, beta2), weight_decay=0.05
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=num_steps, pct_start=warmup_frac)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
