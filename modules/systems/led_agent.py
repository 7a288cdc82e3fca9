"""A system in which a sampler chooses where to look and somebody else does the looking, step by step, until it is sure.

Where an MLLM is shown all K frames of a selection at once, an agent goes through it in the order in which it was drawn
and may stop before its end. `modules.rl.evolution` trains the sampler of either from the answers.
"""

from __future__ import annotations

from abc import abstractmethod

from modules.records import QuestionBatch, Rollouts, Selection
from modules.selection.base import FrameSampler
from modules.systems.base import VideoSystem
from modules.systems.frame_source import FrameSource


class Agent(VideoSystem):
    """Follows orders that a sampler draws."""

    answers_together = False

    @abstractmethod
    def choices(self, batch: QuestionBatch, source: FrameSource) -> QuestionBatch:
        """What a sampler chooses among to answer B questions: the same questions with other candidates.

        Args:
            batch: B questions; their candidates are frames.
            source: of frames and text features.
        """

    @abstractmethod
    def follow(
        self, batch: QuestionBatch, choices: QuestionBatch, source: FrameSource, selection: Selection
    ) -> Rollouts:
        """Goes through G selections of each of B questions, each in the order in which it was drawn.

        The result's selection ends where the agent did: what was drawn and not looked at, because the question was
        answered before, is -1 there and has no log-probability. No draw that is left out may have changed the answer.

        Args:
            batch: B questions; their candidates are frames.
            choices: of that batch.
            source: of frames and text features.
            selection: (B, G, K) of the choices.

        Returns:
            Rollouts of the choices, with answers in text, options where there are any, and costs.
        """

    @abstractmethod
    def led_by(self, sampler: FrameSampler) -> VideoSystem:
        """The same, looking where a sampler thinks best; before `prepare`, which shares what this one has."""
