"""What the small models' training asks of its data module (`datamodules.haystack.pretraining`)."""

from __future__ import annotations

from typing import Any, Protocol

import lightning as L
from torch import Tensor


class Sentences(Protocol):
    """Makes the texts of the training."""

    def sentences(self) -> list[str]:
        """Every kind of sentence, for a vocabulary."""
        ...


class Frames(Protocol):
    """Holds the frames of the training."""

    @property
    def frames(self) -> Tensor:
        """uint8 (N, 3, H, W)."""
        ...


class PretrainingData(Protocol):
    """The data module."""

    examples: Sentences
    pool: Frames
    val_pool: Frames


def data_of(trainer: L.Trainer) -> PretrainingData:
    """The data module that a trainer was given; Lightning sets the attribute with it, so its own type names none."""
    stage: Any = trainer
    return stage.datamodule
