"""What a question looks like in text."""

from __future__ import annotations

import pytest
import torch

from modules.mllms.prompt import Prompt
from modules.records import VideoQuestion

QUESTION = VideoQuestion(
    "d",
    "s",
    "q",
    "v",
    90.0,
    "Who speaks?",
    ("he", "she"),
    0,
    subtitles=((0.0, 2.0, "one"), (5.0, 6.0, "two"), (5.5, 9.0, "three")),
)


def test_options_instruction_and_what_comes_before() -> None:
    prompt = Prompt(before="Look. ", option_format="({letter}) {option}", instruction="Best option: (")
    assert prompt.text(QUESTION, torch.empty(0)) == "Look. Who speaks?\n(A) he\n(B) she\nBest option: ("
    assert Prompt(answer_with="words").text(QUESTION, torch.empty(0)) == "Who speaks?"
    with pytest.raises(ValueError, match="option_format"):
        Prompt(option_format="- {option}")


def test_subtitles_are_those_of_the_shown_frames_each_once() -> None:
    prompt = Prompt(subtitles="Subtitles:", answer_with="words")
    assert prompt.text(QUESTION, torch.tensor([1.0, 5.7, 5.9])) == "Subtitles:\none\ntwo\nthree\nWho speaks?"
    assert prompt.text(QUESTION, torch.tensor([3.0])) == "Who speaks?"
    assert Prompt(answer_with="words").text(QUESTION, torch.tensor([1.0])) == "Who speaks?"


def test_the_digest_changes_with_anything_that_shapes_the_text() -> None:
    digests = {p.digest() for p in (Prompt(), Prompt(timestamps=True), Prompt(instruction=""), Prompt(system="x"))}
    assert len(digests) == 4
    assert Prompt().digest() == Prompt().digest()
