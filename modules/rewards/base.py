"""What a reward is: a score for every rollout."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor

from modules.records import Rollouts


class Reward(ABC):
    """One term of the reward.

    ``needs_text`` terms make the MLLM generate its answers; options are scored only where a term ``needs_options``.
    """

    needs_text: bool = False
    needs_options: bool = True

    def answers_are_drawn(self) -> None:  # noqa: B027 -- most terms do not care
        """Told by joint training, where every rollout has an answer in text; for terms that can read either."""

    @abstractmethod
    def __call__(self, rollouts: Rollouts) -> Tensor:
        """float32 (B, G); NaN where the term does not apply."""
