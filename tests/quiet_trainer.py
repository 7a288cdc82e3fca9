"""A trainer for tests: some updates on one CPU, saying, logging and saving nothing unless it is asked to."""

from __future__ import annotations

from typing import Any

import lightning as L


def quiet_trainer(max_steps: int, **settings: Any) -> L.Trainer:
    """A trainer of ``max_steps`` updates without validation; ``settings`` go over its own."""
    own: dict[str, Any] = {
        "accelerator": "cpu",
        "devices": 1,
        "max_epochs": -1,
        "num_sanity_val_steps": 0,
        "limit_val_batches": 0,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": False,
        "logger": False,
    }
    return L.Trainer(max_steps=max_steps, **own | settings)
