"""Asking outside of the trainer: so many rows at a time, and frames that are kept within bounds."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import pytest
import torch

from modules.mllms.base import FrameTokens, Row
from modules.mllms.kept_frames import KeptFrames
from modules.mllms.qwen_vl import Qwen25VL
from modules.records import VideoQuestion
from modules.small_stack.blank_families import write_blank_family
from recipes.jobs.pass_rates import PassRates

QUESTIONS = [
    VideoQuestion("d", "train", f"q{n}", "v", 60.0, "Which? " + "so " * n, ("red", "green"), n % 2) for n in range(3)
]


@pytest.fixture(scope="module")
def mllm(tmp_path_factory) -> Qwen25VL:
    write_blank_family("qwen2_5_vl", tmp_path_factory.mktemp("asking") / "m")
    return Qwen25VL(path=str(tmp_path_factory.getbasetemp() / "asking0" / "m"))


def rates(mllm: Qwen25VL, rows_per_forward: int, monkeypatch: pytest.MonkeyPatch) -> tuple[list[dict], list[int], int]:
    """What a job writes about three questions, the sizes of its batches, and how often the tower ran."""
    frames = torch.randint(0, 255, (2, 3, 56, 56), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    shown = FrameTokens(mllm.encode_frames(frames), torch.tensor([0.0, 30.0]))
    clips = SimpleNamespace(row=lambda question, video: Row(question, shown, torch.arange(2)))
    batches, towers, generate, clip = [], [], mllm.generate, mllm.clip
    monkeypatch.setattr(mllm, "generate", lambda rows, *more: batches.append(len(rows)) or generate(rows, *more))
    monkeypatch.setattr(mllm, "clip", lambda row: towers.append(row) or clip(row))
    job = PassRates(
        data=SimpleNamespace(), mllm=mllm, out="-", num_trials=4, max_new_tokens=6, rows_per_forward=rows_per_forward
    )
    written = job._ask(QUESTIONS, "v", clips)
    monkeypatch.undo()
    return written, batches, len(towers)


def test_pass_rates_are_asked_so_many_at_a_time_and_do_not_depend_on_it(mllm, monkeypatch) -> None:
    few, sizes, towers = rates(mllm, 5, monkeypatch)
    assert sizes == [5, 5, 2]
    assert towers == 5  # the questions in a part, not its rows: trials of one question share their frames
    whole, sizes, _ = rates(mllm, 100, monkeypatch)
    assert sizes == [12]
    assert few == whole
    assert few[0]["decoding"] == "drawn at temperature 1; no penalties or cut-offs of the checkpoint"


def test_kept_frames_are_bounded_by_bytes_and_lie_on_the_host() -> None:
    kept = KeptFrames(1)
    of = {v: FrameTokens(torch.full((64, 1024), float(n)), torch.arange(64)) for n, v in enumerate("abcdef")}  # 256 KiB
    for video in "abcd":
        kept.put(video, of[video])
    assert kept.get("a").tokens[0, 0] == 0  # used again, so the next to go is b
    kept.put("e", of["e"])
    assert [video for video in "abcdef" if kept.get(video) is not None] == ["a", "c", "d", "e"]
    kept.put("e", of["e"])
    assert (len(kept), kept.num_bytes) == (4, 2**20)
    large = dataclasses.replace(of["f"], tokens=torch.zeros(2, 2**18))
    assert kept.put("f", large).tokens is large.tokens
    assert (len(kept), kept.num_bytes) == (4, 2**20)
    elsewhere = FrameTokens(torch.zeros(1, 4, device="meta"), torch.zeros(1))
    with pytest.raises(NotImplementedError, match="meta"):  # is copied to the host when it is put in
        kept.put("g", elsewhere)
