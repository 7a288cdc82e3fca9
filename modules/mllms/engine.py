"""Who draws the answers that an MLLM is trained on: the model itself, or an engine that has its weights.

An engine is quicker at long answers and may run elsewhere; what it draws from is then the model of its last
`sync_weights`, in other kernels. Its log-probabilities are those of what it drew from, and training corrects for the
difference (`modules.rl.importance`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from modules.mllms.base import MLLM, Generation, Row


class RolloutEngine(ABC):
    """Draws answers, with weights that it is given."""

    is_the_model: bool = False
    """Whether it is the model that is trained, so that nothing has to be given or corrected."""

    @abstractmethod
    def prepare(self, mllm: MLLM) -> None:
        """Told before training whose answers it will draw.

        Raises:
            ValueError: it cannot draw them.
        """

    @abstractmethod
    def generate(self, rows: list[Row], max_new_tokens: int, temperature: float, seeds: list[int]) -> Generation:
        """Answers drawn at a temperature, one a row, with the log-probabilities of what they were drawn from."""

    @abstractmethod
    def sync_weights(self, mllm: MLLM, version: int) -> None:
        """Takes the weights of a model; what is drawn afterwards is drawn from them.

        Args:
            mllm: as it is now.
            version: updates that it has seen.
        """


class LocalEngine(RolloutEngine):
    """The model itself.

    Args:
        mllm: that is trained.
    """

    is_the_model = True

    def __init__(self, mllm: MLLM) -> None:
        self.mllm = mllm

    def prepare(self, mllm: MLLM) -> None:
        if mllm is not self.mllm:
            raise ValueError("a local engine draws for the model that it is, and was given another one")

    def generate(self, rows: list[Row], max_new_tokens: int, temperature: float, seeds: list[int]) -> Generation:
        return self.mllm.generate(rows, max_new_tokens, temperature, seeds)

    def sync_weights(self, mllm: MLLM, version: int) -> None:
        """Has them."""
