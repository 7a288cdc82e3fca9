"""One question about one video file, from the command line."""

from __future__ import annotations

from typing import Any

from datamodules.questions.video_questions import VideoQuestionData
from datamodules.video.video_info import BadVideoError, probe
from modules.files.paths import InputPath
from modules.records import VideoQuestion


class AskData(VideoQuestionData):
    """A data set of one question.

    Args:
        video: path of the file.
        question: about it.
        options: to choose between, as a list or separated by commas; none for a free answer.
        kwargs: see `VideoQuestionData`.
    """

    def __init__(
        self, *, video: InputPath, question: str, options: list[str] | str | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.bad_videos.on_bad_video = "raise"  # there is no other video to go on with
        if isinstance(options, str):
            options = [o.strip() for o in options.split(",") if o.strip()]
        self.video, self.question, self.options = video, question, tuple(str(o) for o in options or ())

    def load_questions(self, split: str) -> list[VideoQuestion]:
        if not self.question.strip():
            raise ValueError("--question is empty")
        try:
            duration_s = probe(self.video).duration_s
        except BadVideoError as error:
            raise ValueError(f"--video: {error}") from error
        return [VideoQuestion("ask", split, "ask-0", self.video, duration_s, self.question, self.options)]
