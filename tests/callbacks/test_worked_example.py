"""The question that a report ends with: known answer, its options, as words of a shell."""

from __future__ import annotations

import math
import shlex
from dataclasses import replace

import pytest

from callbacks.worked_example import described, fields_of, worked_example
from modules.records import Answer
from modules.systems.option_shares import option_shares
from recipes.launcher.reading import read_value

RIGHT, WRONG = (math.log(0.9), math.log(0.1)), (math.log(0.2), math.log(0.8))


def answer(sample_id: str, system: str, log_probs: tuple[float, ...] | None) -> Answer:
    return Answer(
        "d",
        "s",
        sample_id,
        f"{sample_id}.mp4",
        system,
        f"What of {sample_id}?",
        ("red", "blue"),
        0,
        option_log_probs=log_probs,
        timestamps_s=(1.0, 2.5),
        evidence_s=((2.0, 3.0),),
    )


def test_the_trained_system_is_right_where_even_spacing_is_not() -> None:
    answers = [
        *(answer("a", "after", WRONG), answer("a", "uniform", WRONG), answer("a", "oracle", RIGHT)),
        *(answer("b", "after", RIGHT), answer("b", "uniform", RIGHT), answer("b", "oracle", RIGHT)),
        *(answer("c", "after", RIGHT), answer("c", "uniform", WRONG), answer("c", "oracle", RIGHT)),
    ]
    assert worked_example(answers) is answers[6]
    assert worked_example(answers[:3]) is answers[0]
    assert worked_example([answers[2], answers[1]]) is answers[2]
    assert worked_example([]) is None


def test_it_is_described_with_percentages_and_evidence() -> None:
    assert described(answer("c", "after", RIGHT)) == [
        "example     What of c?",
        "options     red 90% (chosen, right), blue 10%",
        "looked at   1.0, 2.5 s; the answer is to be seen at 2.0-3.0 s",
    ]
    assert described(answer("c", "after", WRONG))[1] == "options     red 20% (right), blue 80% (chosen, wrong)"


@pytest.mark.parametrize("options", [("red", "blue"), ("red, dark", "blue"), (" $(ls)", "it's")])
def test_words_of_the_shell_come_back_as_they_were(options: tuple[str, str]) -> None:
    fields = fields_of(replace(answer("c d", "after", RIGHT), options=options))
    words = shlex.split(" ".join(fields.values()))
    assert words[:2] == ["c d.mp4", "What of c d?"]
    assert words[3] == options[0]
    found = read_value(words[2])
    assert tuple(found if isinstance(found, list) else found.split(", ")) == options


def test_nobody_knows_what_is_right() -> None:
    shares = option_shares(("a", "b"), (0.25, 0.75), choice=1, right=None)
    assert list(map(str, shares)) == ["a 25%", "b 75% (chosen)"]
