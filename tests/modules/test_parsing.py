"""Which option a text names: a table made by hand, and what holds for any text."""

from __future__ import annotations

import random

import pytest
import torch
from linear_time import assert_linear
from openai.types.chat import ChatCompletionMessage
from openai.types.chat.chat_completion import Choice

from modules.evaluation.scorers import StrictLetter
from modules.mllms.base import FrameTokens, Row
from modules.mllms.openai import OpenAIChat
from modules.mllms.prompt import Prompt
from modules.parsing import LETTERS, parse_option, tagged_answer
from modules.records import Answer, QuestionBatch, Rollouts, Selection, VideoQuestion
from modules.rewards.accuracy import Accuracy

OPTIONS = ["red", "green", "blue"]
TABLE = {
    "A": [
        "A",
        "a",
        "(A)",
        "a.",
        "The answer is A",
        "The answer is A.",
        "the answer is a.",
        "A. a man",
        "A is correct",
        "Answer: A",
        "A because it is red",
        "The answer is A because a man waves",
        "red",
        "The answer is red.",
    ],
    "B": [
        "B. The reason: option A is wrong",
        "B",
        " B ",
        "B)",
        "(B",
        "B:",
        "B, because of the hat",
        "Option B",
        "Best option: (B)",
        "The correct option is B.",
        "A man throws it, so the answer is B",
        "**B**",
        "**Answer:** B",
        "The answer is **(B)**",
        r"\boxed{B}",
        r"The answer is \boxed{\text{B}}.",
        "Answer: B\nA man waves.",
        "Option A is wrong, so I choose B",
        "I think option B is right",
        "I would go with B.",
        "B - the green one",
        "Not A: the answer is B",
        "(A) is wrong, the answer is (B)",
        "[B]",
        '"B"',
        "Answer = B",
        "answer is option B",
        "<think>A or C?</think>B",
        "<answer> B </answer>",
        "<answer>A</answer> no, <answer>B</answer>",
        "GREEN.",
        "The best answer is: green",
        "The answer is B, not A.",
        "B is what a man would say",
        "B. A dog runs (C)",
    ],
    "C": [
        "C",
        "c",
        "C.",
        "C. a dog",
        "Based on the video, the answer is C. A dog runs",
        "blue",
        "Blue.",
        "A man throws it, so the answer is C",
        "<think>A or B? no.</think><answer>C</answer>",
    ],
    "": [
        "",
        "The answer is a red ball.",
        "A man throws it",
        "a man",
        "A red ball",
        "Answer: A red ball",
        "no idea",
        "I cannot tell",
        "I think so",
        "A or B",
        "A, B and C",
        "The answer is A or B",
        "F",
        "(H)",
        "The answer is J",
        "option A is wrong",
        "A is wrong",
        "Option A is not right",
        "(A) and (B)",
        "e.g. a man",
        "A's hat",
        "D-day",
        "An apple",
        "the answer is unclear",
        "either A or C",
        "The answer is not A",
        "b-roll",
        "Begin",
        "I",
        "???",
    ],
}


@pytest.mark.parametrize(("letter", "text"), [(letter, text) for letter, texts in TABLE.items() for text in texts])
def test_the_table(letter: str, text: str) -> None:
    assert parse_option(text, OPTIONS) == (LETTERS.index(letter) if letter else None)


@pytest.mark.parametrize("form", ["{}", "({})", "{}.", "The answer is {}.", "Option {}", "Answer: {}", "{}. something"])
def test_every_letter_of_a_prompt_can_be_read_back(form: str) -> None:
    options = [f"thing {n}" for n in range(len(LETTERS))]
    for index, letter in enumerate(LETTERS):
        assert parse_option(form.format(letter), options) == index
        assert parse_option(form.format(letter), options[:index]) is None


def test_what_is_named_is_always_an_option_that_is_there() -> None:
    draw = random.Random(0)
    words = [
        *"ABCDEFGHIJKabcdefghij().:*,'\"\n",
        " ",
        "the answer is",
        "option",
        "<answer>",
        "</answer>",
        "wrong",
        "not",
        "red",
        "</think>",
        "\\boxed{",
        "}",
        "I choose",
        "or",
    ]
    named = 0
    for _ in range(20_000):
        text = draw.choice(["", " "]).join(draw.choices(words, k=draw.randrange(8)))
        options = ["red", "green", "a", "the answer is", "", "b", "x", "y", "z", "w", "v", "u"][: draw.randrange(13)]
        index = parse_option(text, options)
        assert index is None or 0 <= index < len(options), text
        named += index is not None
    assert named > 2000


def said(text: str) -> Choice:
    message = ChatCompletionMessage(role="assistant", content=text)
    return Choice(finish_reason="stop", index=0, message=message)


@pytest.mark.parametrize("index", range(len(LETTERS)))
def test_rewards_scorers_prompts_and_served_models_know_the_same_letters(index: int) -> None:
    nothing, options = torch.empty(0), tuple(f"thing {n}" for n in range(len(LETTERS)))
    question, letter = VideoQuestion("d", "s", "q", "v", 60.0, "?", options, index), LETTERS[index]
    assert f"{letter}. thing {index}" in Prompt().text(question, nothing)
    batch = QuestionBatch([question], [], nothing, nothing, nothing, nothing)
    empty = Selection(torch.zeros(1, 1, 1, dtype=torch.int64), torch.zeros(1, 1, 1))
    assert Accuracy(by="text")(Rollouts(batch, empty, None, [[f"({letter})"]])).tolist() == [[1.0]]
    answer = Answer("d", "s", "q", "v", "arm", "?", options, index, text=f"The answer is {letter}.")
    assert StrictLetter().grade(answer) == 1
    served = OpenAIChat(model="m", base_url="http://127.0.0.1:1/v1", log_probs_from="answer")
    assert served._from_text(said(letter), Row(question, FrameTokens(nothing, nothing), nothing)).argmax() == index


def test_what_only_looks_like_a_letter_names_nothing() -> None:
    options = [f"thing {n}" for n in range(len(LETTERS))]
    for text in (
        "\u0130",
        "The answer is \u0130",
        "(\u0130)",
        "\u0131 is right",
        "\uff21",
        "\u0391",
    ):  # Turkish, wide, Greek
        assert parse_option(text, options) is None, text


def test_the_last_pair_of_tags_counts() -> None:
    for text, inside in {
        "<answer>A</answer>": "A",
        "<ANSWER>\nB\n</Answer>": "\nB\n",
        "<answer>A</answer><answer>B</answer>": "B",
        "<answer>A<answer>B</answer>": "A<answer>B",
        "</answer><answer>A": None,
        "<answer>": None,
        "": None,
        "<answer>A</answer></answer>": "A",
    }.items():
        assert tagged_answer(text) == inside, text


@pytest.mark.parametrize(
    "piece",
    [
        "<answer>",
        "</answer>",
        " ",
        "\n",
        "answer ",
        "answer is ",
        "the ",
        "correct ",
        "(",
        "option ",
        "option (",
        "A",
        "A or ",
        "A)",
        "!",
        "_",
        '"',
        "go with ",
        "<think>",
        'answer ( "',
        "answer\n\t",
        "B, ",
        "_ ",
        "! ",
    ],
)
@pytest.mark.parametrize("around", ["{}", "x{}!", "answer{}", "(A) is{}", "A{}x", "option{}?"])
def test_any_text_is_read_in_linear_time(piece: str, around: str) -> None:
    assert_linear(lambda n: parse_option(around.format(piece * n), ["red", "green"]))


def test_a_served_answer_is_read_by_the_same_rules() -> None:
    served = OpenAIChat(model="m", base_url="http://127.0.0.1:1/v1", log_probs_from="answer")
    for letter, texts in TABLE.items():
        nothing = torch.empty(0)
        question = VideoQuestion("d", "s", "q", "v", 60.0, "?", tuple(OPTIONS), 1)
        row = Row(question, FrameTokens(nothing, nothing), nothing)
        for text in texts:
            scores = served._from_text(said(text), row)
            assert scores.isfinite().tolist() == [letter == option for option in "ABC"], text
