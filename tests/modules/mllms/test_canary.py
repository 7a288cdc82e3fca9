"""A model that does not see its frames is noticed before the first step, and only once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from modules.mllms.canary import check_that_frames_matter
from modules.mllms.llava_onevision import LlavaOnevision
from modules.mllms.prompt import Prompt
from modules.mllms.qwen_vl import Qwen25VL
from modules.records import Candidates, QuestionBatch, Selection, VideoQuestion
from modules.small_stack.blank_families import write_blank_family
from modules.systems.answering import Answering

QUESTION = VideoQuestion("d", "s", "q", "v", 8.0, "What colour?", ("red", "green", "blue"), 1)
FRAMES = torch.randint(0, 255, (4, 3, 56, 56), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


class Source:
    """Frames from memory; counts how often it is asked."""

    def __init__(self) -> None:
        self.decoded = 0

    def decode(self, candidates: Candidates, candidate_index: torch.Tensor) -> torch.Tensor:
        self.decoded += 1
        return FRAMES[candidate_index]

    def decode_many(self, asked: list[tuple[Candidates, torch.Tensor]]) -> Iterator[torch.Tensor]:
        return (self.decode(*one) for one in asked)

    def stored_frames(self, candidates: Candidates, candidate_index: torch.Tensor, key: str) -> torch.Tensor | None:
        return None


@pytest.fixture(scope="module")
def mllm(tmp_path_factory) -> LlavaOnevision:
    folder = tmp_path_factory.mktemp("llava")
    write_blank_family("llava_onevision", folder)
    return LlavaOnevision(path=str(folder))


def batch() -> tuple[QuestionBatch, Selection]:
    candidates = Candidates("v", torch.arange(4), torch.arange(4.0), 8.0)
    whole = QuestionBatch(
        [QUESTION],
        [candidates],
        torch.zeros(1, 4, 1),
        torch.ones(1, 4, dtype=torch.bool),
        torch.arange(4.0)[None],
        torch.zeros(1, 1, 1),
    )
    index = torch.tensor([[[0, 2], [1, 3]]])
    return whole, Selection(index, torch.zeros(index.shape))


def deaf(mllm: LlavaOnevision, monkeypatch: pytest.MonkeyPatch) -> None:
    """A chat template that forgets the video."""
    template = mllm.processor.chat_template.replace("<video>", "")
    monkeypatch.setattr(mllm.processor, "chat_template", template)
    monkeypatch.setattr(mllm, "clip", lambda row: None)
    monkeypatch.setattr(mllm, "features", lambda clips: None)


def test_a_model_that_sees_passes_and_is_asked_once(mllm: LlavaOnevision) -> None:
    answering, source = Answering(mllm), Source()
    for _ in range(3):
        answering.answer(source, *batch())
    assert source.decoded == 3 + 1  # once more for the canary, in the first batch only


def test_a_chat_template_without_the_video_stops_the_run(mllm: LlavaOnevision, monkeypatch) -> None:
    deaf(mllm, monkeypatch)
    with pytest.raises(RuntimeError, match="the video is not reaching the model: LlavaOnevision"):
        Answering(mllm).answer(Source(), *batch())
    Answering(mllm, canary=False).answer(Source(), *batch())


def test_free_questions_are_checked_too(mllm: LlavaOnevision) -> None:
    free = VideoQuestion("d", "s", "q", "v", 8.0, "What happens?")
    check_that_frames_matter(
        mllm, free, mllm.encode_frames(FRAMES), mllm.encode_frames(255 - FRAMES), torch.arange(4.0)
    )


def test_tokens_that_depend_on_neighbours_are_not_stored(tmp_path: Path) -> None:
    write_blank_family("qwen2_5_vl", tmp_path)
    with pytest.raises(ValueError, match="frames_per_grid: 1"):
        Answering(Qwen25VL(path=str(tmp_path), prompt=Prompt()), store_frame_tokens=True)
    Answering(Qwen25VL(path=str(tmp_path), frames_per_grid=1), store_frame_tokens=True)
