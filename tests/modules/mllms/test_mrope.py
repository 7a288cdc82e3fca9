"""Qwen-VL's positions against transformers' own (v5) and against v4's rule worked out token by token."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor

from modules.mllms.base import FrameTokens, Row
from modules.mllms.prompt import Prompt
from modules.mllms.qwen_vl import Qwen3VL, Qwen25VL
from modules.records import VideoQuestion
from modules.small_stack.blank_families import write_blank_family
from recipes.launcher.guard import ROOT


def nodes(value: Any) -> Iterator[dict]:
    """Every mapping in a recipe."""
    if isinstance(value, dict):
        yield value
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from nodes(part)


def test_every_recipe_with_qwen2_5_vl_asks_after_the_last_frame() -> None:
    """Published numbers were made so, and a run and its evaluation have to put the question in one place."""
    found = []
    for path in sorted((ROOT / "recipes").rglob("*.yaml")):
        for node in nodes(yaml.safe_load(path.read_text())):
            if node.get("class_path") == "modules.mllms.qwen_vl.Qwen25VL":
                found.append(path.name)
                assert node["init_args"].get("positions") == "v4", path
    assert len(found) >= 10


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[type[Qwen25VL], Path]:
    root = tmp_path_factory.mktemp("mrope")
    for family in ("qwen2_5_vl", "qwen3_vl"):
        write_blank_family(family, root / family)
    return {Qwen25VL: root / "qwen2_5_vl", Qwen3VL: root / "qwen3_vl"}


def rows(mllm: Qwen25VL, duration_s: float = 200.0) -> list[Row]:
    """Rows of several lengths, sizes of frames and times; one without frames, one with the question first."""
    frames = torch.randint(0, 255, (9, 3, 84, 112), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    times = torch.linspace(0, duration_s, 9)
    wide = FrameTokens(mllm.encode_frames(frames), times)
    tall = FrameTokens(mllm.encode_frames(frames[:, :, :, :56]), times)
    question = VideoQuestion("d", "s", "q", "v", duration_s, "What is it?", ("a", "b"), 0)
    return [
        Row(question, wide, torch.arange(9)),
        Row(question, tall, torch.tensor([4])),
        Row(question, wide, torch.empty(0, dtype=torch.int64)),
        Row(question, tall, torch.tensor([1, 5, 7]), Prompt(question_first=True)),
    ]


@pytest.mark.parametrize("frames_per_grid", [1, 2])
@pytest.mark.parametrize("cls", [Qwen25VL, Qwen3VL])
def test_v5_is_what_transformers_has(folders, cls, frames_per_grid: int) -> None:
    mllm = cls(path=str(folders[cls]), frames_per_grid=frames_per_grid)
    inputs = mllm.inputs(rows(mllm))
    ours = inputs.pop("position_ids")
    theirs, _ = mllm.model.model.get_rope_index(**inputs)
    assert torch.equal(ours, theirs)


def v4_by_hand(ids: list[int], video: int, grid: tuple[int, int, int], seconds: float) -> list[list[int]]:
    """v4.49's rule for one video, token by token: text counts on from the largest position so far."""
    time, height, width = grid
    places = [(int(t * seconds * 2), h, w) for t in range(time) for h in range(height) for w in range(width)]
    positions: list[tuple[int, ...]] = []
    seen, begin = 0, 0
    for token in ids:
        behind = max(map(max, positions)) + 1 if positions else 0
        if token == video:
            begin = behind if seen == 0 else begin
            positions.append(tuple(begin + place for place in places[seen]))
            seen += 1
        else:
            positions.append((behind,) * 3)
    return [list(axis) for axis in zip(*positions, strict=True)]


def unpadded(inputs: dict, r: int, values: Tensor) -> Tensor:
    return values[..., inputs["attention_mask"][r].bool()]


@pytest.mark.parametrize("duration_s", [3.0, 7200.0])
@pytest.mark.parametrize("frames_per_grid", [1, 2])
def test_v4_puts_the_text_behind_the_last_frame(folders, frames_per_grid: int, duration_s: float) -> None:
    mllm = Qwen25VL(path=str(folders[Qwen25VL]), frames_per_grid=frames_per_grid, positions="v4")
    asked = rows(mllm, duration_s)
    inputs = mllm.inputs(asked)
    videos = iter(zip((inputs["video_grid_thw"]).tolist(), inputs["second_per_grid_ts"].tolist(), strict=True))
    for r, row in enumerate(asked):
        (time, height, width), seconds = next(videos) if len(row.index) else ((0, 0, 0), 0.0)
        ids = unpadded(inputs, r, inputs["input_ids"][r]).tolist()
        grid = time, height // mllm.merge, width // mllm.merge
        by_hand = v4_by_hand(ids, mllm.video_token_id, grid, seconds)
        assert unpadded(inputs, r, inputs["position_ids"][:, r]).tolist() == by_hand


@pytest.mark.parametrize("positions", ["v4", "v5"])
def test_generated_tokens_go_on_where_the_prompt_ends(folders, positions: str, monkeypatch) -> None:
    """The positions that reach the language model while it writes are those by which its tokens are credited."""
    mllm = Qwen25VL(path=str(folders[Qwen25VL]), positions=positions)
    asked, seen = rows(mllm, 7200.0), []
    language_model = mllm.model.model.language_model
    hook = language_model.register_forward_pre_hook(
        lambda _, args, kwargs: seen.append(kwargs["position_ids"]), with_kwargs=True
    )
    answers = mllm.generate(asked, 5, 1.0, [0, 1, 2, 3]).token_ids
    hook.remove()
    written = torch.cat([p[-3:] for p in seen], -1)  # prompt, then a token a step
    for r, ids in enumerate(answers):
        alone = mllm.inputs([asked[r]], [ids.tolist()])["position_ids"][:, 0]
        length = alone.shape[1]
        prompt = length - len(ids)
        start = seen[0].shape[-1] - prompt
        # the last token drawn is not read again
        assert torch.equal(written[:, r, start : start + length - 1], alone[:, : length - 1])
        first = alone[:, prompt]
        behind = alone[:, :prompt].max() + 1
        assert (first == behind).all() == (positions == "v4" or len(asked[r].index) < 2), "a video of several grids"


def test_in_an_hour_v5_asks_before_most_of_the_video(folders) -> None:
    frames = torch.zeros(64, 3, 56, 56, dtype=torch.uint8)
    question = VideoQuestion("d", "s", "q", "v", 3600.0, "What?", ("a", "b"), 0)
    shares = {}
    for positions in ("v4", "v5"):
        mllm = Qwen25VL(path=str(folders[Qwen25VL]), positions=positions)
        shown = FrameTokens(mllm.encode_frames(frames), torch.arange(64) * 56.25)
        inputs = mllm.inputs([Row(question, shown, torch.arange(64))])
        is_video = inputs["input_ids"][0] == mllm.video_token_id
        of_time = inputs["position_ids"][0, 0]
        asked_at = of_time[torch.nonzero(is_video)[-1] + 1]
        shares[positions] = float((of_time[is_video] > asked_at).float().mean())
    assert shares["v4"] == 0
    assert shares["v5"] > 0.9
