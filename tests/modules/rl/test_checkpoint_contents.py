"""What a checkpoint of a training holds can be read again: plain data, whatever types a recipe's parser has made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from jsonargparse.typing import PositiveFloat
from torch import nn

from modules.checkpoints.checkpoint_files import read
from modules.rl.checkpoint_contents import keep_trained, take_trained


class Module(nn.Module):
    def __init__(self, temperature: Any) -> None:
        super().__init__()
        self.sampler = nn.Linear(2, 1)
        self.sampler.temperature = temperature


def test_a_restricted_temperature_keeps_no_checkpoint_from_being_read(tmp_path: Path) -> None:
    module = Module(PositiveFloat(0.5))
    checkpoint: dict[str, Any] = {"state_dict": module.state_dict()}
    keep_trained(module, checkpoint)
    torch.save(checkpoint, tmp_path / "last.ckpt")
    other = Module(1.0)
    take_trained(other, read(tmp_path / "last.ckpt"))
    assert (other.sampler.temperature, type(other.sampler.temperature)) == (0.5, float)


def test_a_sampler_without_a_temperature_has_none() -> None:
    module, checkpoint = Module(None), dict[str, Any]()
    keep_trained(module, checkpoint)
    assert checkpoint["temperature"] is None
