"""What a sampler is asked to look for, where that is not the question itself: the contract of who writes queries."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor

from modules.mllms.completions import Completions
from modules.records import QuestionBatch
from modules.systems.answering import Answering
from modules.systems.frame_source import FrameSource


@dataclass(frozen=True)
class WrittenQueries:
    """Queries of G trajectories of each of B questions."""

    completions: Completions
    """B x G texts with their tokens."""
    queries: list[list[list[str]]]
    """B lists of G lists; empty where a text could not be parsed."""
    features: Tensor
    """float32 (B, G, Q, D), zero where a query is absent; the question's own where there is none."""

    def batch(self, batch: QuestionBatch) -> QuestionBatch:
        """The B x G trajectories as questions of a batch, each with its own queries."""
        size = self.features.shape[1]

        def repeated(tensor: Tensor) -> Tensor:
            return tensor.repeat_interleave(size, 0)

        return QuestionBatch(
            [q for q in batch.questions for _ in range(size)],
            [c for c in batch.candidates for _ in range(size)],
            repeated(batch.features),
            repeated(batch.mask),
            repeated(batch.timestamps_s),
            self.features.flatten(0, 1),
        )


class QueryWriter(ABC):
    """Has an MLLM write what the sampler looks for."""

    temperature: float
    """Of the draws in training; evaluation takes the most probable queries."""

    @abstractmethod
    def write(
        self,
        answering: Answering,
        source: FrameSource,
        batch: QuestionBatch,
        num_frames: int,
        num_rollouts: int,
        seed: str | None = None,
    ) -> WrittenQueries:
        """Queries of G trajectories of each question.

        Args:
            answering: whose MLLM writes.
            source: of frames and of text features.
            batch: B questions.
            num_frames: K, how many the sampler will choose.
            num_rollouts: G.
            seed: a draw is a function of it, sample_id and number of the trajectory; None takes the most probable text.
        """
