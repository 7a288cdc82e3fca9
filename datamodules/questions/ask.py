"""One question about one video file, from the command line or from Python."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from jsonargparse.typing import NonNegativeFloat

from datamodules.questions.video_questions import VideoQuestionData
from datamodules.video.decoding_settings import DecodingSettings
from datamodules.video.video_info import BadVideoError, probe
from modules.files.paths import InputPath
from modules.records import VideoQuestion


class AskData(VideoQuestionData):
    """A data set of one question.

    Args:
        video: path of the file.
        question: about it.
        options: to choose between, as a list or separated by commas; none for a free answer.
        answer: the right one, where it is known, to be shown beside the model's.
        at_s: ask in mid-stream: only what has been seen by that second is used.
        decoding: how the file is decoded; one that cannot be read ends the run, since there is no other to go on with.
        kwargs: see `VideoQuestionData`.
    """

    def __init__(
        self,
        *,
        video: InputPath,
        question: str,
        options: list[str] | str | None = None,
        answer: str | None = None,
        at_s: NonNegativeFloat | None = None,
        decoding: DecodingSettings = DecodingSettings(),
        **kwargs: Any,
    ) -> None:
        super().__init__(decoding=replace(decoding, on_bad_video="raise"), **kwargs)
        self.video, self.question, self.options, self.answer = video, question, texts_of(options, answer), answer
        self.at_s = at_s

    def load_questions(self, split: str) -> list[VideoQuestion]:
        try:
            question = question_about(self.video, self.question, self.options, self.answer, split)
        except BadVideoError as error:
            raise ValueError(f"--video: {error}") from error
        return [replace(question, until_s=self.at_s)]


def question_about(
    video: str,
    question: str,
    options: Sequence[str] | str | None = None,
    answer: str | None = None,
    split: str = "predict",
) -> VideoQuestion:
    """A question that somebody asks.

    Args:
        video: path of the file.
        question: about it.
        options: to choose between, as a list or separated by commas; none for a free answer.
        answer: the right one of the options, or a text that answers a question without any; None where nobody knows.
        split: that it belongs to.

    Raises:
        BadVideoError: the video cannot be read.
        ValueError: the question is empty, or the answer is none of the options.
    """
    if not question.strip():
        raise ValueError("the question is empty (--question)")
    duration_s = probe(video).duration_s
    texts = texts_of(options, answer)
    index = texts.index(answer) if answer and texts else None
    references = (answer,) if answer and not texts else ()
    return VideoQuestion("ask", split, "ask-0", video, duration_s, question, texts, index, references=references)


def texts_of(options: Sequence[str] | str | None, answer: str | None = None) -> tuple[str, ...]:
    """The options of a question, each by itself.

    Args:
        options: a list, or separated by commas; None where there are none.
        answer: the right one; None where nobody knows.

    Raises:
        ValueError: the answer is none of them.
    """
    if isinstance(options, str):
        options = [o.strip() for o in options.split(",") if o.strip()]
    texts = tuple(str(o) for o in options or ())
    if answer and texts and answer not in texts:
        raise ValueError(f"--answer {answer!r} is none of the options {list(texts)}")
    return texts
