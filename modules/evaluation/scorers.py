"""From a raw answer to an option: named, versioned, never random.

The same sentence is graded differently by every harness, so a number without its scorer's name cannot be compared.
A scorer returns None where it finds nothing; that is wrong, and counted. (LongVideoBench's official parser and several
tasks of lmms-eval draw a random option there, unseeded; the parity scorers say None instead.)
"""

from __future__ import annotations

import functools
import re
from abc import abstractmethod

from modules.evaluation.caption_scorers import BleuScorer, CIDErDScorer, RougeLCocoScorer
from modules.evaluation.java_scorers import MeteorScorer, SpiceScorer
from modules.evaluation.open_scorers import ExactMatchScorer, RougeLScorer, ServedGradeScorer
from modules.evaluation.scorer_base import Scorer
from modules.parsing import LETTERS
from modules.records import Answer
from modules.systems.grading import most_probable_option, named_option


class OptionScorer(Scorer):
    """Of questions with options: which one does the answer name?"""

    @abstractmethod
    def choose(self, answer: Answer) -> int | None:
        """Index of the option the answer names, or None."""

    def judges(self, answer: Answer) -> bool:
        return answer.answer_index is not None

    def grade(self, answer: Answer) -> float | None:
        chosen = self.choose(answer)
        return None if chosen is None else float(chosen == answer.answer_index)


class OptionLogprob(OptionScorer):
    """The most probable option; deterministic, nothing to parse."""

    name = "option-logprob@1"
    reads_text = False

    def choose(self, answer: Answer) -> int | None:
        return most_probable_option(answer)


class StrictLetter(OptionScorer):
    """The rules of `modules.parsing`, which rewards and pass rates follow as well."""

    name = "strict-letter@2"

    def choose(self, answer: Answer) -> int | None:
        return named_option(answer)


class LmmsEval(OptionScorer):
    """As lmms-eval 0.7 extracts an option letter for Video-MME, MLVU and LVBench: formats ranked, the last match wins.

    Args:
        num_letters: letters that may be named. Those tasks pass A to D whatever the number of options.
    """

    name = "lmms-eval@0.7"
    _PHRASES = (
        "the answer is",
        "answer is",
        "the correct answer is",
        "correct answer is",
        "the best answer is",
        "best answer is",
        "the correct option is",
        "correct option is",
        "the best option is",
        "best option is",
        "the choice is",
        "choice is",
        "the correct choice is",
        "correct choice is",
        "i choose",
        "i select",
        "i pick",
        "my answer is",
        "my choice is",
        "옵션",
        "정답은",
        "답은",
        "답:",
        "答案是",
        "答案为",
        "选",
        "答えは",
    )
    # how far a format is to be trusted, and what follows (or surrounds) the letter in it
    _FORMATS = ((6, "({})"), (5, "{}."), (4, "{}:"), (3, "{})"), (2, "{} "))
    _STARTS, _ENDS, _AFTER_PHRASE = 10, 9, 7

    def __init__(self, *, num_letters: int = 4) -> None:
        self.letters = LETTERS[:num_letters]

    def choose(self, answer: Answer) -> int | None:
        letter = self.letter(answer.text or "")
        index = LETTERS.index(letter) if letter else None
        return index if index is not None and index < len(answer.options) else None

    def letter(self, text: str) -> str:
        """The letter, or an empty string."""
        bare = text.strip()
        for mark in ",.!?;:'\"":
            bare = bare.strip(mark)
        if not text.strip():
            return ""
        padded, inner = f" {bare} ", bare.strip()
        found: list[tuple[int, int, str]] = []  # trust, position, letter
        for trust, form in self._FORMATS:
            found += [(trust, padded.rfind(form.format(c)), c) for c in self.letters if form.format(c) in padded]
        for phrase in self._PHRASES:
            at = padded.lower().find(phrase)
            if at >= 0:
                places = ((padded.find(c, at + len(phrase)), c) for c in self.letters)
                found += [(self._AFTER_PHRASE, place, c) for place, c in places if place >= 0]
        for c in self.letters:
            if inner.startswith(c) and not inner[1:2].isalpha():
                found.append((self._STARTS, 0, c))
            if inner.endswith(c) and not inner[-2:-1].isalpha():
                found.append((self._ENDS, len(padded) - 1, c))
        if not found:
            found = [(0, padded.rfind(c), c) for c in self.letters if c in padded]
        return max(found, key=lambda f: f[:2])[2] if found else ""


class LmmsEvalLongVideoBench(OptionScorer):
    """As lmms-eval 0.7 reads LongVideoBench: some prefixes removed, then the first capital A to E anywhere."""

    name = "lmms-eval-longvideobench@0.7"
    _PREFIXES: tuple[str, ...] = (
        "The best answer is",
        "The correct answer is",
        "The answer is",
        "The answer",
        "The best option is",
        "The correct option is",
        "Best answer:",
        "Best option:",
    )
    _LETTER = re.compile("[ABCDE]")

    def choose(self, answer: Answer) -> int | None:
        text = (answer.text or "").strip()
        for prefix in self._PREFIXES:
            text = text.replace(prefix, "")
        match = self._LETTER.search(text)
        index = LETTERS.index(match[0]) if match else None
        return index if index is not None and index < len(answer.options) else None


class VLMEvalKit(LmmsEvalLongVideoBench):
    """As VLMEvalKit (August 2026) reads Video-MME by rules: like the above, A to D, with its own prefixes.

    Two commas are missing in its list, so that four prefixes form two that never match; they are left out here.
    """

    name = "vlmevalkit@2026-08"
    _PREFIXES = (
        "The best answer is",
        "The correct answer is",
        "The answer is",
        "The answer",
        "Answer:",
        "Option:",
    )
    _LETTER = re.compile("[ABCD]")


_OF_OPTIONS = (OptionLogprob(), StrictLetter(), LmmsEval(), LmmsEvalLongVideoBench(), VLMEvalKit())
_OF_TEXTS = (ExactMatchScorer(), RougeLScorer())
_OF_CAPTIONS = (CIDErDScorer(), *(BleuScorer(n) for n in (1, 2, 3, 4)), RougeLCocoScorer())
SCORERS: dict[str, Scorer] = {s.name: s for s in (*_OF_OPTIONS, *_OF_TEXTS, *_OF_CAPTIONS)}
_JAVA = {s.name: s for s in (MeteorScorer, SpiceScorer)}
"""Made when they are asked for, since Java has to be there."""
_SERVED = "served-grade"


@functools.cache
def _java_scorer(name: str) -> Scorer:
    """One of a name, which keeps its program."""
    return _JAVA[name]()


@functools.cache
def _served_grade(model: str, base_url: str) -> ServedGradeScorer:
    """One of a name, which remembers what it has asked."""
    return ServedGradeScorer(model, base_url)


def scorer(name: str) -> Scorer:
    """A scorer by name, with or without its version; ``served-grade:MODEL@BASE_URL`` is a served model that grades.

    Raises:
        ValueError: there is none, and it names those there are; or it needs Java, which is not there.
    """
    for full in (*SCORERS, *_JAVA):
        if name in (full, full.partition("@")[0]):
            return SCORERS[full] if full in SCORERS else _java_scorer(full)
    kind, _, rest = name.partition(":")
    model, _, base_url = rest.rpartition("@http")
    if kind.partition("@")[0] == _SERVED and model:
        return _served_grade(model, f"http{base_url}")
    raise ValueError(f"no scorer {name!r}; there are {', '.join((*SCORERS, *_JAVA))}, {_SERVED}:MODEL@BASE_URL")
