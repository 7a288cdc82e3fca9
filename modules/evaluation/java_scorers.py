"""METEOR and SPICE, which are Java programs; pycocoevalcap brings the first and fetches half of the second."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from modules.evaluation.open_scorers import OpenScorer
from modules.evaluation.scorer_base import CorpusScorer
from modules.records import Answer
from modules.rewards.caption_words import caption_words


def refuse_without_java(name: str) -> None:
    """A metric that is a Java program wants Java.

    Raises:
        ValueError: there is none on this machine.
    """
    if shutil.which("java") is None:
        raise ValueError(
            f"the scorer {name} is a Java program, and this machine has no command `java`. Install one (Debian and "
            "Ubuntu: apt-get install default-jre-headless), or leave the scorer out: bleu-4, rouge-l-coco and cider-d "
            "need none"
        )


class MeteorScorer(CorpusScorer, OpenScorer):
    """METEOR 1.5 (Denkowski and Lavie 2014) of all answers together, with its parameters and paraphrases for English.

    The program counts matches and chunks of each answer; the number follows from their sums.

    Raises:
        ValueError: there is no Java.
    """

    name = "meteor@1"

    def __init__(self) -> None:
        refuse_without_java(self.name)
        from pycocoevalcap.meteor.meteor import Meteor

        self._program = Meteor()

    def counts(self, answer: Answer) -> np.ndarray:
        text, references = caption_words(answer.text or ""), list(map(caption_words, answer.references))
        return np.array(self._program._stat(text, references).split(), dtype=float)

    def value(self, totals: np.ndarray) -> float:
        program = self._program.meteor_p
        numbers = " ".join(f"{number:.10g}" for number in totals)
        program.stdin.write(f"EVAL ||| {numbers}\n".encode())
        program.stdin.flush()
        program.stdout.readline()  # of each answer; there is one
        return float(program.stdout.readline())

    def compare(self, answer: Answer) -> float:
        return self.value(self.counts(answer))


class SpiceScorer(OpenScorer):
    """SPICE (Anderson et al. 2016): F-measure of the objects, attributes and relations that are named, on average.

    Raises:
        ValueError: there is no Java, or a half of the program has not been fetched.
    """

    name = "spice@1"

    def __init__(self) -> None:
        refuse_without_java(self.name)
        import pycocoevalcap.spice.spice as program

        folder = Path(program.__file__).parent / "lib"
        jars = ("stanford-corenlp-3.6.0.jar", "stanford-corenlp-3.6.0-models.jar")
        if lacking := [jar for jar in jars if not (folder / jar).is_file()]:
            raise ValueError(
                f"the scorer {self.name} needs Stanford CoreNLP 3.6.0, and {' and '.join(lacking)} is not there. Fetch "
                "it once, from Stanford's server: python -c 'from pycocoevalcap.spice.get_stanford_models import "
                "get_stanford_models as fetch; fetch()'; or copy the two files, which Maven Central has too "
                f"(edu.stanford.nlp:stanford-corenlp:3.6.0, jar and models), into {folder}"
            )
        self._program = program.Spice()

    def compare(self, answer: Answer) -> float | None:
        return self.grade_all([answer])[0]

    def grade_all(self, answers: Sequence[Answer]) -> list[float | None]:
        written = [n for n, answer in enumerate(answers) if caption_words(answer.text or "")]
        grades: list[float | None] = [None] * len(answers)
        if written:
            texts = {n: [caption_words(answers[n].text or "")] for n in written}
            references = {n: list(map(caption_words, answers[n].references)) for n in written}
            found = self._program.compute_score(references, texts)[1]
            for n, scores in zip(written, found, strict=True):
                grades[n] = float(scores["All"]["f"])
        return grades
