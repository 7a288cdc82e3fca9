"""What a question looks like in text, apart from what a family's chat template puts around it."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from torch import Tensor

from modules.parsing import LETTERS
from modules.records import VideoQuestion

_LONGEST_TEMPLATE = 64 * 1024
_PROJECT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """How a question is put to an MLLM. The defaults are LLaVA's, as in TSPO's training.

    Args:
        answer_with: ``letter`` lists the options and asks for one's letter, as the papers do; ``words`` leaves the
            options out, and their texts are scored as answers.
        question_first: put the text before the video; the families' own order is video first.
        timestamps: say in a sentence how long the video is and when its frames were taken; for families that do not
            write times themselves.
        subtitles: introduces the subtitles of the frames that are shown; None leaves subtitles out. (lmms-eval gives
            those of uniform frames instead, whatever frames the model sees.)
        system: system message; None leaves the family's own.
        before: text before the question.
        option_format: of a line of the options.
        instruction: after the options; empty for none.
        answer_prefix: what the assistant's turn begins with, e.g. ``Best option: (``.
        template: file with the user's whole text, in which ``{question}``, ``{options}``, ``{times}`` and
            ``{duration_s}`` are filled in; what the keys above say about that text is then not used, apart from
            ``option_format``.
    """

    answer_with: Literal["letter", "words"] = "letter"
    question_first: bool = False
    timestamps: bool = False
    subtitles: str | None = None
    system: str | None = None
    before: str = ""
    option_format: str = "{letter}. {option}"
    instruction: str = "Answer with the option's letter from the given choices directly."
    answer_prefix: str = ""
    template: str | None = None

    def __post_init__(self) -> None:
        if "{letter}" not in self.option_format or "{option}" not in self.option_format:
            raise ValueError(f"option_format {self.option_format!r} needs {{letter}} and {{option}}")
        if self.template is not None and "{question}" not in read_template(self.template):
            raise ValueError(f"prompt template {self.template} has no {{question}}")

    def text(self, question: VideoQuestion, timestamps_s: Tensor) -> str:
        """The user's text.

        Args:
            question: with its options.
            timestamps_s: float (K,), of the frames that are shown.
        """
        worded = question.wording is not None
        if self.template is not None and not worded:
            return self._filled(question, timestamps_s)
        lines = [str(question.wording) if worded else f"{self.before}{question.question}"]
        if self.subtitles is not None and (said := heard(question, timestamps_s)):
            lines.insert(0, f"{self.subtitles}\n" + "\n".join(said))
        if self.timestamps and len(timestamps_s):
            times = ", ".join(f"{t:.1f}s" for t in timestamps_s.tolist())
            lines.insert(0, f"The video lasts {question.duration_s:.1f} seconds; its frames were taken at {times}.")
        if self.answer_with == "letter" and question.options and not worded:
            lines += self._options(question)
            lines += [self.instruction] * bool(self.instruction)
        return "\n".join(lines)

    def _options(self, question: VideoQuestion) -> list[str]:
        """A line for each option."""
        pairs = zip(LETTERS, question.options, strict=False)
        return [self.option_format.format(letter=letter, option=option) for letter, option in pairs]

    def _filled(self, question: VideoQuestion, timestamps_s: Tensor) -> str:
        """The template with its blanks filled in; in one pass, so that a question may contain braces."""
        assert self.template is not None
        values = {
            "question": question.question,
            "options": "\n".join(self._options(question)),
            "times": ", ".join(f"{t:.1f}s" for t in timestamps_s.tolist()),
            "duration_s": f"{question.duration_s:.1f}",
        }
        return re.sub(r"\{(\w+)\}", lambda blank: values.get(blank[1], blank[0]), read_template(self.template))

    def answers(self, question: VideoQuestion) -> list[str]:
        """Each option as the answer the model would give."""
        options = question.options
        return list(LETTERS[: len(options)]) if self.answer_with == "letter" else list(options)

    def digest(self) -> str:
        """Short hash of everything that shapes the text."""
        values = asdict(self) | ({} if self.template is None else {"template": read_template(self.template)})
        if self.template is None:  # as before there were templates
            del values["template"]
        return hashlib.sha256(repr(sorted(values.items())).encode()).hexdigest()[:10]


@cache
def read_template(path: str) -> str:
    """The text of a prompt's file, seen from here or else from the project's own folder.

    Raises:
        ValueError: there is no such file, or it is no text of a prompt's length.
    """
    found = next((place for place in (Path(path), _PROJECT / path) if os.path.isfile(place)), None)
    if found is None:
        raise ValueError(f"prompt template {path!r:.200}: no such file")
    try:
        with found.open("rb") as file:
            content = file.read(_LONGEST_TEMPLATE + 1)
        text = content.decode()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"prompt template {path} cannot be read: {error}") from None
    if len(content) > _LONGEST_TEMPLATE:
        raise ValueError(f"prompt template {path} is longer than {_LONGEST_TEMPLATE} bytes")
    return text.strip()


def heard(question: VideoQuestion, timestamps_s: Tensor) -> list[str]:
    """What is said while any of the shown frames is on, in order, each line once."""
    times = timestamps_s.tolist()
    return [text for start, end, text in question.subtitles if any(start <= t <= end for t in times)]
