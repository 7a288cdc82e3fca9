"""What a captioner learns from: words of captions that were hidden (`masked_word_loss`), or rewards of its own captions
(`rewarded_captions`)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from modules.methods.swinbert.clip_reading import ReadClips
from modules.methods.swinbert.swinbert_network import SwinBERT
from modules.records import VideoQuestion
from modules.seeds import seed_of


@dataclass(frozen=True)
class ObjectiveLoss:
    """Of one batch."""

    loss: Tensor
    """Scalar with graph, a mean."""
    counted: float
    """Of how many words or captions it is the mean: ranks that have more of them count more."""
    metrics: Mapping[str, Tensor | float]
    """By the path that each is logged under."""


@dataclass(frozen=True)
class Dice:
    """Where all that is drawn in an update comes from: the same on any number of ranks."""

    seed: int
    step: int
    """Batches before this one."""

    def of(self, question: VideoQuestion, *purpose: object) -> torch.Generator:
        """A generator of the host for one question."""
        words = "/".join(map(str, (self.seed, self.step, question.sample_id, *purpose)))
        return torch.Generator().manual_seed(seed_of(words))


@dataclass(frozen=True)
class Holding:
    """How this rank holds the network's parameters."""

    scattered: bool = False
    """Whether they lie scattered over the ranks: then all ranks run the same forwards outside of `gathered`, and what
    is computed inside has no graph."""
    gathered: Callable[[], AbstractContextManager[None]] = nullcontext
    """Inside, every rank has all of them, and may run as many forwards as it likes."""


class CaptionObjective(ABC):
    """One way to learn captions."""

    def training_begins(self, questions: Sequence[VideoQuestion]) -> None:  # noqa: B027 -- most do not care
        """Told all questions that are trained on, before the first step of every run."""

    @abstractmethod
    def loss(self, network: SwinBERT, clips: ReadClips, dice: Dice, holding: Holding) -> ObjectiveLoss:
        """The loss of a batch; puts the network into the mode, training or not, that it needs."""
