"""The adapter's contract on a blank model of the real classes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from modules.mllms.base import FrameTokens, Row
from modules.mllms.llava_onevision import LlavaOnevision
from modules.mllms.prompt import Prompt
from modules.mllms.qwen_vl import Qwen25VL
from modules.records import VideoQuestion

QUESTION = VideoQuestion("d", "s", "q", "v", 60.0, "What colour is the star?", ("red", "green", "blue", "white"), 1)
LONG = VideoQuestion("d", "s", "l", "v", 60.0, "What is shown?", ("red star", "a green ring", "moon", "blue"), 0)


@pytest.fixture(scope="module")
def mllm(blank_vlm: Path) -> LlavaOnevision:
    return LlavaOnevision(path=str(blank_vlm), prompt=Prompt(answer_with="words"))


@pytest.fixture(scope="module")
def frames() -> torch.Tensor:
    return torch.randint(0, 255, (8, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def row(mllm: LlavaOnevision, frames: torch.Tensor, index: list[int], question: VideoQuestion = QUESTION) -> Row:
    return Row(
        question, FrameTokens(mllm.encode_frames(frames), torch.arange(8.0)), torch.tensor(index, dtype=torch.int64)
    )


def test_injected_tokens_equal_pixels_through_the_processor(mllm: LlavaOnevision, frames: torch.Tensor) -> None:
    r = row(mllm, frames, [0, 2, 5])
    inputs = mllm.processor(
        text=[mllm.prompt_text(r)], videos=[frames[[0, 2, 5]]], do_sample_frames=False, return_tensors="pt"
    )
    assert torch.equal(inputs["input_ids"], mllm.inputs([r])["input_ids"])
    pixels = mllm.model(**inputs).logits
    torch.testing.assert_close(mllm.model(**mllm.inputs([r])).logits, pixels, atol=1e-5, rtol=1e-5)


def test_ragged_batch_equals_single(mllm: LlavaOnevision, frames: torch.Tensor) -> None:
    rows = [
        row(mllm, frames, i, q) for i, q in (([0, 1, 2], QUESTION), ([3], LONG), ([], QUESTION), ([1, 4, 6, 7], LONG))
    ]
    together = mllm.score_rows(rows)
    for n, r in enumerate(rows):
        torch.testing.assert_close(together[n], mllm.score_rows([r])[0], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(together.exp().sum(-1), torch.ones(4))


def test_frames_and_their_order_matter(mllm: LlavaOnevision, frames: torch.Tensor) -> None:
    base = mllm.score_rows([row(mllm, frames, [0, 1, 2])])
    changed = frames.clone()
    changed[1] = 255 - changed[1]
    assert not torch.allclose(base, mllm.score_rows([row(mllm, changed, [0, 1, 2])]), atol=1e-6)
    assert not torch.allclose(base, mllm.score_rows([row(mllm, frames, [2, 1, 0])]), atol=1e-6)


def test_selections_that_repeat_are_scored_once(mllm: LlavaOnevision, frames: torch.Tensor, monkeypatch) -> None:
    counted: list[int] = []
    real = mllm.score_rows
    monkeypatch.setattr(mllm, "score_rows", lambda rows: counted.append(len(rows)) or real(rows))
    tokens = FrameTokens(mllm.encode_frames(frames), torch.arange(8.0))
    index = torch.tensor([[[0, 1, -1], [2, 3, 4], [0, 1, -1]], [[5, 6, 7]] * 3])
    scores = mllm.score_options([QUESTION, LONG], [tokens, tokens], index)
    assert sum(counted) == 3
    assert torch.equal(scores[0, 0], scores[0, 2])
    single = real([Row(QUESTION, tokens, torch.tensor([2, 3, 4]))])[0]
    torch.testing.assert_close(scores[0, 1], single, atol=1e-5, rtol=1e-4)


def test_options_of_several_tokens_are_scored_by_their_summed_log_probability(
    mllm: LlavaOnevision, frames: torch.Tensor
) -> None:
    r = row(mllm, frames, [0, 1], LONG)
    sums = []
    for ids in mllm.option_ids(r):
        logits = mllm.model(**mllm.inputs([r], [ids])).logits[0].log_softmax(-1)
        sums.append(sum(logits[-len(ids) + k - 1, token] for k, token in enumerate(ids)))
    torch.testing.assert_close(mllm.score_rows([r])[0], torch.stack(sums).log_softmax(0), atol=1e-5, rtol=1e-4)


def test_generated_answers_carry_their_log_probs(mllm: LlavaOnevision, frames: torch.Tensor) -> None:
    rows = [row(mllm, frames, [0, 1, 2]), row(mllm, frames, [3, 4], LONG)]
    answer = mllm.generate(rows, 5)
    log_probs = mllm.log_probs(rows, answer.token_ids)
    for n, ids in enumerate(answer.token_ids):
        torch.testing.assert_close(log_probs[n, : len(ids)], answer.log_probs[n], atol=1e-4, rtol=1e-4)
    assert log_probs.requires_grad


def test_letters_are_listed_and_scored(blank_vlm: Path, frames: torch.Tensor) -> None:
    mllm = LlavaOnevision(path=str(blank_vlm), prompt=Prompt(timestamps=True))
    r = row(mllm, frames, [1, 3])
    prompt = mllm.prompt_text(r)
    assert "B. green" in prompt
    assert "1.0s, 3.0s" in prompt
    assert "60.0 seconds" in prompt
    assert prompt.index("<video>") < prompt.index("What colour")
    assert mllm.score_rows([r]).shape == (1, 4)


def test_percents_stand_before_their_frames(blank_vlm: Path, frames: torch.Tensor) -> None:
    mllm = LlavaOnevision(path=str(blank_vlm), prompt=Prompt(answer_with="words"), frame_percents=True)
    times = FrameTokens(mllm.encode_frames(frames), torch.linspace(0.0, 60.0, 8))
    late, early = (Row(QUESTION, times, torch.tensor(index)) for index in ([3, 7], [0, 1]))
    video = "<video>" * 4
    assert f" 42{video} 100{video}<video>" in mllm.tokenizer.decode(mllm.inputs([late])["input_ids"][0])
    assert f" 0{video} 14{video}<video>" in mllm.tokenizer.decode(mllm.inputs([early])["input_ids"][0])
    blind = Row(QUESTION, times, torch.tensor([], dtype=torch.int64))
    together = mllm.score_rows([late, blind])
    torch.testing.assert_close(together[1], mllm.score_rows([blind])[0], atol=1e-5, rtol=1e-4)
    moved = FrameTokens(times.tokens, times.timestamps_s / 2)
    assert not torch.allclose(together[0], mllm.score_rows([Row(QUESTION, moved, late.index)])[0], atol=1e-6)
    assert mllm.describe()["frame_percents"]


def test_reloads_under_the_auto_classes(mllm: LlavaOnevision, frames: torch.Tensor, tmp_path: Path) -> None:
    mllm.model.save_pretrained(tmp_path)
    mllm.processor.save_pretrained(tmp_path)
    again = LlavaOnevision(path=str(tmp_path), prompt=Prompt(answer_with="words"))
    assert again.key == mllm.key
    torch.testing.assert_close(
        again.score_rows([row(again, frames, [0, 1])]), mllm.score_rows([row(mllm, frames, [0, 1])])
    )


def test_missing_folder_is_named() -> None:
    with pytest.raises(ValueError, match="not a folder"):
        LlavaOnevision(path="./nowhere")


def test_a_folder_of_another_family_is_refused_by_name(blank_vlm: Path) -> None:
    with pytest.raises(ValueError, match="holds a model of type 'llava_onevision', and Qwen25VL reads 'qwen2_5_vl'"):
        Qwen25VL(path=str(blank_vlm))
