"""What a scorer is: it reads a raw answer and says how right it is, without a model, today or a year later."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from modules.records import Answer


class Scorer(ABC):
    """Says how right an answer is; known by its name and version."""

    name: ClassVar[str]
    reads_text: ClassVar[bool] = True

    @abstractmethod
    def judges(self, answer: Answer) -> bool:
        """Whether it can say anything of this question: options and a right one, or references."""

    @abstractmethod
    def grade(self, answer: Answer) -> float | None:
        """0 is wrong and 1 is right; None where nothing can be read, which counts as wrong."""
