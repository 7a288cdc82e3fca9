"""A question whose frames cannot be decoded in the step: the others are answered, its own answers are withheld."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from modules.mllms.llava_onevision import LlavaOnevision
from modules.records import Candidates, QuestionBatch, Selection, VideoQuestion
from modules.small_stack.blank_families import write_blank_family
from modules.systems.answering import Answering

FRAMES = torch.randint(0, 255, (4, 3, 56, 56), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


class Source:
    """The video called ``bad`` cannot be decoded."""

    def decode_many(self, asked: list[tuple[Candidates, torch.Tensor]]) -> Iterator[torch.Tensor | None]:
        return (self.decode(*one) for one in asked)

    def decode(self, candidates: Candidates, candidate_index: torch.Tensor) -> torch.Tensor | None:
        return None if candidates.video == "bad" else FRAMES[candidate_index]


def batch(*videos: str) -> tuple[QuestionBatch, Selection]:
    size = len(videos)
    questions = [VideoQuestion("d", "s", f"q{v}", v, 8.0, "What colour?", ("red", "green"), 1) for v in videos]
    candidates = [Candidates(v, torch.arange(4), torch.arange(4.0), 8.0) for v in videos]
    whole = QuestionBatch(
        questions,
        candidates,
        torch.zeros(size, 4, 1),
        torch.ones(size, 4, dtype=torch.bool),
        torch.arange(4.0).repeat(size, 1),
        torch.zeros(size, 1, 1),
    )
    index = torch.tensor([[[0, 2], [1, 3]]]).repeat(size, 1, 1)
    return whole, Selection(index, torch.zeros(index.shape))


@pytest.mark.parametrize("place", [0, 1])
def test_its_answers_are_withheld_and_the_others_are_what_they_are_alone(place: int, tmp_path: Path) -> None:
    write_blank_family("llava_onevision", tmp_path)
    answering: Any = Answering(LlavaOnevision(path=str(tmp_path)), max_new_tokens=2)
    videos = ["good", "good"]
    videos[place] = "bad"
    both = answering.answer(Source(), *batch(*videos), text=True)
    alone = answering.answer(Source(), *batch("good"), text=True)
    assert (both.undecoded, alone.undecoded) == ((place,), ())
    assert both.option_log_probs[place].isneginf().all()
    assert (both.chosen_option[place] == -1).all()
    assert both.texts[place] == ["", ""]
    torch.testing.assert_close(both.option_log_probs[1 - place], alone.option_log_probs[0])
    assert both.texts[1 - place] == alone.texts[0]
