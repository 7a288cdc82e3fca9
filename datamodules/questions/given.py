"""Questions that are handed over: by another harness, or one after another from Python."""

from __future__ import annotations

from typing import Any

from datamodules.questions.video_questions import VideoQuestionData
from modules.records import VideoQuestion


class GivenQuestions(VideoQuestionData):
    """Nothing but the questions that it is given.

    Args:
        questions: of every split; none where they come later, to `VideoQuestionData.batch_of`.
        kwargs: see `VideoQuestionData`.
    """

    def __init__(self, *, questions: list[VideoQuestion] | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._given = questions or []

    def load_questions(self, split: str) -> list[VideoQuestion]:
        return self._given
