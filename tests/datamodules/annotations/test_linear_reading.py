"""Whatever somebody else wrote is read in linear time: questions, options, answers, subtitles, what a model writes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from linear_time import assert_linear

from datamodules.annotations.choices import as_options, choices_of, find_answer, question_and_choices
from datamodules.annotations.lvbench import _INTERVAL
from datamodules.annotations.subtitles import _TAG, read_subtitles
from modules.methods.msjoe.query_writing import parse_queries
from modules.parsing import tagged_answer
from recipes.jobs.needle_questions import read_question

PIECES = [
    " ",
    "\n",
    " \n",
    "A",
    "A.",
    "A.\n",
    "(A) x\n",
    "(A) x\n(B) y\n",
    "B. y\n",
    "(",
    "1",
    "1:",
    "01:",
    "-",
    "<",
    "{\\",
    "<b",
    "<answer>",
    "</answer>",
    "<answer> </answer>",
    "<think>",
    "</think>",
    "</think><queries>",
    "</queries>",
    "[",
    '["a"],',
    "-->",
    "1 --> 2\n",
    "Question:",
    "\nAnswer:",
    "\nAnswer: A",
    "Answer: ",
    '"',
    "'a', ",
    "\u2028",
    "\x85",
]
READERS: dict[str, Callable[[str], object]] = {
    "question": question_and_choices,
    "options": lambda text: choices_of([text, "A. " + text, text]),
    "literal": as_options,
    "answer": lambda text: find_answer(text, choices_of(["red", "green"]), "either", Counter()),
    "solution": tagged_answer,
    "interval": _INTERVAL.fullmatch,
    "tags of subtitles": lambda text: _TAG.sub("", text),
    "queries": lambda text: parse_queries(f"<think>{text}</queries>", 4),
    "queries of a list": lambda text: parse_queries(f"<think></think><queries>{text}</queries>", 4),
    "needle": lambda text: read_question(f"Question: {text}"),
}


@pytest.mark.parametrize("name", READERS)
def test_reading_is_linear(name: str) -> None:
    def read(text: str) -> None:
        with suppress(ValueError):  # refused, in time
            READERS[name](text)

    for piece in PIECES:
        assert_linear(lambda n, piece=piece: read(piece * n))  # type: ignore[misc]
        assert_linear(lambda n, piece=piece: read(f"A. {piece * n}B"))  # type: ignore[misc]


@pytest.mark.parametrize("piece", PIECES)
def test_subtitles_are_read_in_linear_time(piece: str, tmp_path: Path) -> None:
    def read(n: int) -> None:
        (tmp_path / "a.srt").write_text("1\n00:01 --> 00:02\n" + piece * n, newline="")
        with suppress(ValueError):
            read_subtitles(tmp_path / "a.srt")

    assert_linear(read)


@pytest.mark.parametrize(
    ("written", "queries"),
    [
        ('<think>a</think> <queries>["a dog"]</queries>', ["a dog"]),
        ('  <think>a</think>b</think>\n<queries>["a"]</queries>\n', ["a"]),
        ('<think>a</think><queries>["a"]</queries> and more', []),
        ('<think>a</think>x<queries>["a"]</queries>', []),
        ('<queries>["a"]</queries>', []),
        ("<think></think><queries>" + "[" * 5000 + "</queries>", []),
        ("<think></think><queries>[" + "9" * 5000 + "]</queries>", []),
        (r'<think></think><queries>["\ud800"]</queries>', []),
    ],
)
def test_queries_of_any_text(written: str, queries: list[str]) -> None:
    assert parse_queries(written, 4) == queries


def test_a_needle_s_question_is_read_whole_or_not_at_all() -> None:
    text = "Sure.\nQuestion: Who waves?\nA. a man\nB. a dog\n\n Answer: (B) because"
    assert read_question(text) == ("Who waves?", ("a man", "a dog"), 1)
    for wrong in (
        "",
        "Question: Who?\nA. x\nB. y",
        "Question: Who?\nA. x\nB. y\nAnswer: C",
        "Question: \nA. x\nB. y\nAnswer: A",
        "Question: Who?\nA. x\nB. x\nAnswer: A",
        "Question: Who?\nA. x\nB. y\nD. z\nAnswer: A",
    ):
        with pytest.raises(ValueError, match=r"form|there|row"):
            read_question(wrong)
