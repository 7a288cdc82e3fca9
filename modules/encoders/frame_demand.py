"""What a LightningModule will want of its data module's frames, said before it wants them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager

from modules.encoders.base import FrameEncoder


class FrameDemand(ABC):
    """Implemented by modules that show frames to an MLLM, so that the data module can prepare what they need."""

    @abstractmethod
    def stored_encoders(self) -> AbstractContextManager[list[FrameEncoder]]:
        """Encoders whose output for every candidate is read from the feature store, beside the data module's own.

        Inside the context they are whole on this rank, wherever their parameters lie otherwise; all ranks enter it.
        """

    @property
    @abstractmethod
    def frames_per_question(self) -> int:
        """How many frames of a question are decoded in a step, at most; 0 where none is, or none that is not stored."""
