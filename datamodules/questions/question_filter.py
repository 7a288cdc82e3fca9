"""Which of a split's questions are used: labelled with pass rates, and for training chosen by them or by name.

The readers of files are imported where a file is named: they bring pydantic and pyarrow, and most runs name none.
"""

from __future__ import annotations

from dataclasses import dataclass

from modules.files.paths import InputPath
from modules.records import VideoQuestion


@dataclass(frozen=True, kw_only=True)
class QuestionFilter:
    """What is left of the questions that a data set has.

    Args:
        pass_rates: file of pass rates (recipes/data/pass_rates.yaml) that questions of every split are labelled with.
        pass_rate_range: train only on questions whose rate is at least and at most this.
        train_ids: train only on the questions of this file (recipes/data/margin_variance.yaml).

    Raises:
        ValueError: the range is no range of shares.
    """

    pass_rates: InputPath | None = None
    pass_rate_range: tuple[float, float] | None = None
    train_ids: InputPath | None = None

    def __post_init__(self) -> None:
        bounds = self.pass_rate_range
        if bounds is not None and not 0 <= bounds[0] <= bounds[1] <= 1:
            raise ValueError(f"pass_rate_range={list(bounds)}: two shares, the first no more than the second")

    def of(self, questions: list[VideoQuestion], split: str) -> list[VideoQuestion]:
        """The questions of a split that are left, in their own order.

        Raises:
            ValueError: a file is missing or is something else, or ``train_ids`` names none of the questions.
        """
        if self.pass_rates is not None:
            from datamodules.questions.pass_rate_files import read_pass_rates, with_pass_rates

            questions = with_pass_rates(questions, read_pass_rates(self.pass_rates))
        if split != "train":
            return questions
        if self.pass_rate_range is not None:
            low, high = self.pass_rate_range
            questions = [q for q in questions if q.pass_rate is not None and low <= q.pass_rate <= high]
        if self.train_ids is None:
            return questions
        from datamodules.questions.kept_questions import only_kept

        return only_kept(questions, self.train_ids)
