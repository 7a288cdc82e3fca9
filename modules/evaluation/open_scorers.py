"""Scorers of open questions: what was written against the references. A grade lies between 0 (wrong) and 1 (right)."""

from __future__ import annotations

from abc import abstractmethod

from modules.evaluation.scorer_base import Scorer
from modules.mllms.base import MLLM
from modules.records import Answer
from modules.rewards.exact_match import exact_match
from modules.rewards.model_grade import grading_row, read_grade
from modules.rewards.rouge_l import rouge_l


class OpenScorer(Scorer):
    """Of questions with references."""

    def judges(self, answer: Answer) -> bool:
        return bool(answer.references)

    def grade(self, answer: Answer) -> float | None:
        return self.compare(answer) if (answer.text or "").strip() else None

    @abstractmethod
    def compare(self, answer: Answer) -> float | None:
        """The grade of a text that is not empty."""


class ExactMatchScorer(OpenScorer):
    """See `modules.rewards.exact_match`."""

    name = "exact-match@1"

    def compare(self, answer: Answer) -> float:
        return exact_match(answer.text or "", answer.references)


class RougeLScorer(OpenScorer):
    """See `modules.rewards.rouge_l`."""

    name = "rouge-l@1"

    def compare(self, answer: Answer) -> float:
        return rouge_l(answer.text or "", answer.references)


class ServedGradeScorer(OpenScorer):
    """A served model grades, as `modules.rewards.model_grade` asks it.

    Args:
        model: its name at the server.
        base_url: of a server that speaks OpenAI's chat protocol; the key comes from ``OPENAI_API_KEY``.
    """

    def __init__(self, model: str, base_url: str) -> None:
        from modules.mllms.openai import OpenAIChat

        self.name = f"served-grade@1:{model}@{base_url}"  # type: ignore[misc]
        self.mllm: MLLM = OpenAIChat(model=model, base_url=base_url)
        self._grades: dict[tuple[str, tuple[str, ...], str], float | None] = {}

    def compare(self, answer: Answer) -> float | None:
        key = answer.question, answer.references, answer.text or ""
        if key not in self._grades:  # every table asks for it, and a call may cost money
            self._grades[key] = read_grade(self.mllm.generate([grading_row(*key)], 4).texts[0])
        return self._grades[key]
