"""Who describes stretches of a video in words: an MLLM of any family, a served one, or a captioner of its own kind."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from modules.records import Cost


@dataclass(frozen=True)
class CaptionRequest:
    """Frames of a stretch, and what is to be written about them."""

    name: str
    """Of the question and the stretch, for messages; distinct among the requests of one call."""
    frames: Tensor
    """uint8 (K, 3, H, W), in order of time, at least one."""
    timestamps_s: Tensor
    """float (K,), seconds from the start of the video; on the host."""
    prompt: str
    """The whole text that the model reads beside the frames."""
    video: str = ""
    """Path of the file, for messages."""


@dataclass(frozen=True)
class Caption:
    """What was written about one stretch."""

    text: str
    """Empty where the model wrote nothing."""
    cost: Cost
    """Of this call alone: frames shown, tokens, one call; without seconds, which whoever asks measures."""


class Captioner(nn.Module, ABC):
    """Writes a text about each of some stretches of video."""

    @property
    @abstractmethod
    def key(self) -> str:
        """Model, weights, and all settings that shape its texts; captioners of one key write the same."""

    @abstractmethod
    def caption(self, requests: Sequence[CaptionRequest]) -> list[Caption]:
        """A text for each request, in their order; they are written together or side by side.

        Raises:
            ConnectionError: a server gives no usable answer.
        """

    def shortfalls(self) -> dict[str, int]:
        """How often something went otherwise than it should, so far, for the end of a run: words after the number."""
        return {}
