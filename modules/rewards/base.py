"""What a reward is: a score for every rollout."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from torch import Tensor

from modules.records import Rollouts, VideoQuestion


class Reward(ABC):
    """One term of the reward.

    ``needs_text`` terms make the MLLM generate its answers; options are scored only where a term ``needs_options``.
    """

    needs_text: bool = False
    needs_options: bool = True

    def answers_are_drawn(self) -> None:  # noqa: B027 -- most terms do not care
        """Told by joint training, where every rollout has an answer in text; for terms that can read either."""

    def training_begins(self, questions: Sequence[VideoQuestion]) -> None:  # noqa: B027 -- most terms do not care
        """Told before the first step of every run, also of a resumed one; for terms that weigh by all questions.

        Args:
            questions: all that are trained on, the same on every rank.
        """

    @abstractmethod
    def __call__(self, rollouts: Rollouts) -> Tensor:
        """float32 (B, G); NaN where the term does not apply."""
