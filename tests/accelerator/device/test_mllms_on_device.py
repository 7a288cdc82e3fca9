"""Every MLLM family says on another device what it says on the CPU, and what it computes stays there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from modules.mllms.base import FrameTokens, Row
from modules.mllms.internvl import InternVL
from modules.mllms.llava_onevision import LlavaOnevision
from modules.mllms.loading import Loading, Lora
from modules.mllms.qwen_vl import Qwen3VL, Qwen25VL
from modules.mllms.smolvlm import SmolVLM
from modules.mllms.transformers_mllm import TransformersMLLM
from modules.mllms.videollama3 import VideoLlama3
from modules.records import VideoQuestion
from modules.small_stack.blank_families import write_blank_family

CASES: dict[str, tuple[str, type[TransformersMLLM], dict[str, Any]]] = {
    "llava_onevision": ("llava_onevision", LlavaOnevision, {}),
    "llava_video": ("llava_onevision", LlavaOnevision, {"newline": "grid"}),
    "qwen2_5_vl": ("qwen2_5_vl", Qwen25VL, {}),
    "qwen2_5_vl_injected": ("qwen2_5_vl", Qwen25VL, {"frames_per_grid": 1, "positions": "v4"}),
    "qwen3_vl": ("qwen3_vl", Qwen3VL, {}),
    "qwen3_vl_injected": ("qwen3_vl", Qwen3VL, {"frames_per_grid": 1}),
    "internvl": ("internvl", InternVL, {}),
    "smolvlm": ("smolvlm", SmolVLM, {}),
    "videollama3": ("videollama3", VideoLlama3, {}),
}
ASKED = [
    VideoQuestion("d", "s", "q", "v", 125.0, "What colour is the star?", ("red", "green", "blue"), 1),
    VideoQuestion("d", "s", "l", "v", 80.0, "Which of these two is seen after the other one?", ("this", "that"), 0),
]
TIMES = torch.tensor([0.0, 3.2, 9.5, 10.0, 47.3, 62.0])


@pytest.fixture(scope="module")
def build(tmp_path_factory) -> Callable[..., TransformersMLLM]:
    root, written = tmp_path_factory.mktemp("families"), set()

    def get(case: str, loading: Loading | None = None) -> TransformersMLLM:
        family, cls, arguments = CASES[case]
        if family not in written:
            write_blank_family(family, root / family)
            written.add(family)
        return cls(path=str(Path(root / family)), loading=loading, **arguments)

    return get


@pytest.fixture(scope="module")
def frames() -> Tensor:
    return torch.randint(0, 255, (6, 3, 56, 84), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def rows(mllm: TransformersMLLM, frames: Tensor) -> list[Row]:
    tokens = FrameTokens(mllm.encode_frames(frames), TIMES)
    shown = ([0, 1, 2], [3, 5], [])
    return [Row(ASKED[n % 2], tokens, torch.tensor(index, dtype=torch.int64)) for n, index in enumerate(shown)]


def gradients(mllm: TransformersMLLM, asked: list[Row], token_ids: list[Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    """Log-probabilities of given answers, and what they ask of the trained weights."""
    trained = {n: p for n, p in mllm.named_parameters() if p.requires_grad}
    log_probs = mllm.log_probs(asked, token_ids, 0.7)
    log_probs.exp().sum().backward()
    return log_probs, {n: p.grad.cpu() for n, p in trained.items() if p.grad is not None}


def close(there: Tensor, here: Tensor, tolerance: float = 1e-4) -> None:
    torch.testing.assert_close(there.detach().cpu(), here.detach(), atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("case", CASES)
def test_scores_texts_and_gradients_equal_the_cpus(case: str, build, frames: Tensor, device: torch.device) -> None:
    here, there = build(case), build(case).to(device)
    on_cpu, asked = rows(here, frames), rows(there, frames)
    if there.injects:
        close(there.encode_frames(frames), here.encode_frames(frames), 5e-3)  # resized to a grey value's difference
        asked = [Row(r.question, FrameTokens(r.frames.tokens.to(device), TIMES), r.index) for r in on_cpu]
    scores = there.score_rows(asked)
    assert scores.device.type == device.type
    close(scores, here.score_rows(on_cpu))
    said = here.generate(on_cpu, 4)
    assert there.generate(asked, 4).token_ids[0].tolist() == said.token_ids[0].tolist()
    for log_probs, expected in zip(there.generate(asked, 4).log_probs, said.log_probs, strict=True):
        close(log_probs, expected)
    answers = [torch.tensor(here.option_ids(row)[n % 2]) for n, row in enumerate(on_cpu)]
    (log_probs, theirs), (expected, ours) = gradients(there, asked, answers), gradients(here, on_cpu, answers)
    close(log_probs, expected)
    assert theirs.keys() == ours.keys()
    for name, gradient in theirs.items():
        close(gradient, ours[name])


@pytest.mark.parametrize("case", CASES)
def test_drawn_answers_are_reproducible_and_rows_independent(case, build, frames, device) -> None:
    mllm = build(case).to(device)
    asked = rows(mllm, frames)
    drawn = mllm.generate(asked, 4, 1.0, [1, 2, 3])
    again = mllm.generate(asked, 4, 1.0, [1, 2, 3])
    assert [i.tolist() for i in drawn.token_ids] == [i.tolist() for i in again.token_ids]
    alone = mllm.generate(asked[1:2], 4, 1.0, [2])
    assert alone.token_ids[0].tolist() == drawn.token_ids[1].tolist()
    log_probs = mllm.log_probs(asked, drawn.token_ids)
    for n, ids in enumerate(drawn.token_ids):
        close(log_probs[n, : len(ids)], drawn.log_probs[n].cpu(), 1e-3)


@pytest.mark.parametrize("case", [name for name, (_, _, arguments) in CASES.items() if arguments or "qwen" not in name])
def test_previews(case, build, frames, device) -> None:
    mllm = build(case).to(device)
    if not mllm.injects:
        pytest.skip("has no previews")
    tokens = mllm.encode_previews(frames, 1)
    assert tokens.device.type == device.type
    close(tokens, build(case).encode_previews(frames, 1), 2e-2)


@pytest.mark.parametrize("case", ["qwen2_5_vl", "llava_onevision"])
def test_lora(case, build, frames, device) -> None:
    torch.manual_seed(0)
    here = build(case, Loading(lora=Lora(r=2)))
    torch.manual_seed(0)
    there = build(case, Loading(lora=Lora(r=2))).to(device)
    there.load_state_dict(here.state_dict())
    (log_probs, theirs), (expected, ours) = (
        gradients(m, rows(m, frames)[:1], [torch.tensor(m.option_ids(rows(m, frames)[0])[0])]) for m in (there, here)
    )
    close(log_probs, expected, 5e-3)
    assert theirs.keys() == ours.keys()
    assert all("lora_" in name for name in theirs)


@pytest.mark.parametrize("case", CASES)
def test_bfloat16(case, build, frames, device) -> None:
    mllm = build(case, Loading(dtype="bfloat16")).to(device)
    scores = mllm.score_rows(rows(mllm, frames))
    assert scores.dtype == torch.float32
    assert scores[:2, :2].isfinite().all()
    answer = mllm.generate(rows(mllm, frames), 3)
    assert all(p.device.type == device.type for p in answer.log_probs)
