"""The data module of the stage that a trainer runs, as modules and callbacks may ask it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import lightning as L

from modules.records import VideoQuestion
from modules.systems.frame_source import FrameSource


class StageData(FrameSource, Protocol):
    """What is asked of a data module of questions."""

    bad_videos: dict[str, str]
    """File -> why it cannot be read."""

    def questions(self, split: str) -> Sequence[VideoQuestion]:
        """The questions of a split that are used."""
        ...

    def describe(self) -> dict[str, Any]:
        """What an evaluation card has to name of the data."""
        ...


def data_of(trainer: L.Trainer) -> StageData:
    """The data module that a trainer was given; Lightning sets the attribute with it, so its own type names none."""
    stage: Any = trainer
    return stage.datamodule
