"""The end of a run says what went otherwise than it should have, once."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch

from callbacks.shortfalls import Shortfalls


def stage(calls: int, bad: dict[str, str]) -> tuple[Any, Any]:
    trainer = SimpleNamespace(is_global_zero=True, datamodule=SimpleNamespace(bad_videos=bad))
    told = {"calls to m were made again": calls, "answers of m named no option and count as wrong": 0}
    return trainer, SimpleNamespace(mllm=SimpleNamespace(shortfalls=lambda: told))


def test_what_is_missing_is_counted_and_said_once(capsys) -> None:
    shortfalls = Shortfalls()
    trainer, module = stage(3, {"v": "no frame"})
    for missing in (2, 0):
        reward = torch.ones(2, 4)
        reward.view(-1)[:missing] = torch.nan
        shortfalls.on_train_batch_end(trainer, module, {"reward": reward}, None, 0)
    shortfalls.on_fit_end(trainer, module)
    assert capsys.readouterr().out.splitlines() == [
        "note        1 videos cannot be read and were left out",
        "note        2 of 16 rewards are missing",
        "note        3 calls to m were made again",
    ]
    shortfalls.on_test_end(*stage(5, {"v": "no frame"}))
    assert capsys.readouterr().out.splitlines() == ["note        5 calls to m were made again"]


def test_where_nothing_fell_short_nothing_is_said(capsys) -> None:
    shortfalls = Shortfalls()
    trainer, module = stage(0, {})
    shortfalls.on_train_batch_end(trainer, module, {"reward": torch.zeros(2, 4)}, None, 0)
    shortfalls.on_train_batch_end(trainer, module, {"loss": torch.zeros(())}, None, 0)
    shortfalls.on_fit_end(trainer, SimpleNamespace())
    assert capsys.readouterr().out == ""
