"""What a scorer is: it reads a raw answer and says how right it is, without a model, today or a year later."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from modules.records import Answer


class Scorer(ABC):
    """Says how right an answer is; known by its name and version."""

    name: ClassVar[str]
    reads_text: ClassVar[bool] = True
    companions: ClassVar[tuple[str, ...]] = ()
    """Scorers whose number over all questions stands in the same table."""

    @abstractmethod
    def judges(self, answer: Answer) -> bool:
        """Whether it can say anything of this question: options and a right one, or references."""

    @abstractmethod
    def grade(self, answer: Answer) -> float | None:
        """0 is wrong and 1 is right; None where nothing can be read, which counts as wrong."""

    def grade_all(self, answers: Sequence[Answer]) -> list[float | None]:
        """The grades of one system's answers, for scorers that see more in them together than one by one."""
        return [self.grade(answer) for answer in answers]


class CorpusScorer(Scorer):
    """A scorer whose number for several answers is not the mean of their grades but follows from counts, summed."""

    @abstractmethod
    def counts(self, answer: Answer) -> np.ndarray:
        """float (S,), what is counted in one answer."""

    @abstractmethod
    def value(self, totals: np.ndarray) -> float:
        """The number that follows from the sum (S,) over some answers."""
