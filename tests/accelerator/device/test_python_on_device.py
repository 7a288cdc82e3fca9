"""Kairos from Python on the device that is there: everything lies on it, and it answers as the CPU does."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from trained_runs import KINDS, trained_run

import kairos

QUESTION, OPTIONS = "What colour is the last shape?", ["red", "green", "blue"]


@pytest.mark.parametrize("kind", KINDS)
def test_it_answers_there_as_on_the_cpu(
    kind: str, device: torch.device, short_video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = trained_run(tmp_path / "run", kind)
    there, here = kairos.load(run), kairos.load(run, device="cpu")
    expected = here.ask(short_video, QUESTION, OPTIONS)
    (tmp_path / "data").rename(tmp_path / "data of the CPU")  # features are made on each device
    answer = there.ask(short_video, QUESTION, OPTIONS)
    assert answer.timestamps_s == expected.timestamps_s
    assert list(answer.options.values()) == pytest.approx(list(expected.options.values()), abs=1e-3)
    assert there.select(short_video, QUESTION, k=3).frames.shape[0] == 3
    parts = (there._parts.module, there._parts.data.encoder)
    assert {p.device.type for part in parts if part is not None for p in part.parameters()} == {device.type}
