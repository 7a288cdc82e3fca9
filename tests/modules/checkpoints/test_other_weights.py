"""Weights of another model are refused in one sentence, which names the file, what it holds, and what was expected."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from modules.checkpoints.checkpoint_files import PATH_KEY, PlainFiles, read, write
from modules.checkpoints.sampler_files import write_sampler
from modules.checkpoints.weights import load_weights, refuse_other
from modules.evaluation.trained_sampler import load_sampler
from modules.methods.msjoe.unet import UNetSampler
from modules.methods.tspo.agent import TSPOSampler
from modules.selection.base import FrameSampler

RECIPE = "model:\n  init_args:\n    sampler:\n      class_path: modules.methods.tspo.agent.TSPOSampler\n"


class Model(nn.Module):
    """What a sampler is trained in."""

    def __init__(self, sampler: FrameSampler) -> None:
        super().__init__()
        self.sampler, self.mllm = sampler, nn.Linear(2, 2).requires_grad_(False)


def saved(folder: Path, suffix: str) -> Path:
    """A TSPO sampler of width 16, as a run or as `lightning consolidate` writes it."""
    weights = {f"sampler.{name}": p.detach() for name, p in TSPOSampler(dim=16).named_parameters()}
    path = folder / f"sampler{suffix}"
    if suffix == ".ckpt":
        write({"state_dict": weights, "recipe": RECIPE, "temperature": 0.15}, path)
    else:
        write_sampler(path, weights, recipe=RECIPE, temperature=0.15, with_mllm=False)
    return path


@pytest.mark.parametrize("suffix", [".ckpt", ".safetensors"])
@pytest.mark.parametrize(
    ("sampler", "expected"),
    [
        (TSPOSampler(dim=32), r"TSPOSampler with sampler\.key\.weight \(32, 32\); 10 parameters"),
        (UNetSampler(max_queries=1, channels=[8]), r"UNetSampler with sampler\.\S+\.weight \(8, 8, 5\); \d+"),
    ],
    ids=["another width", "into a U-Net"],
)
def test_both_shapes_are_named(suffix: str, sampler: FrameSampler, expected: str, tmp_path: Path) -> None:
    path = saved(tmp_path, suffix)
    ways = (
        lambda: load_weights(Model(sampler), str(path)),
        lambda: load_sampler(sampler, {**read(path), PATH_KEY: str(path)}),
    )
    for way in ways:
        with pytest.raises(
            ValueError, match=rf"holds a TSPOSampler with sampler\.key\.weight \(16, 16\), and .*{expected}"
        ) as refusal:
            way()
        assert str(refusal.value).startswith(str(path))
        assert "\n" not in str(refusal.value)


def test_a_file_of_an_mllm_says_that_it_has_no_sampler(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file({"model.embed.weight": torch.zeros(5, 3), "model.norm.weight": torch.zeros(3)}, path)
    with pytest.raises(ValueError, match=r"no sampler in it: it holds 2 tensors such as model\.embed\.weight \(5, 3\)"):
        load_weights(Model(TSPOSampler(dim=16)), str(path))


@pytest.mark.parametrize("length", [0, 5, 300, -9])
def test_a_file_that_is_cut_off_is_refused(length: int, tmp_path: Path) -> None:
    path = saved(tmp_path, ".safetensors")
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(ValueError, match=r"sampler\.safetensors is refused: it is") as refusal:
        load_weights(Model(TSPOSampler(dim=16)), str(path))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("header", [{"temperature": "[1]"}, {"temperature": "warm"}, {"crc32": "[]"}, {"crc32": "{"}])
def test_a_strangers_header_is_refused(header: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / "strange.safetensors"
    save_file({"sampler.x": torch.zeros(2)}, path, header)
    with pytest.raises(ValueError, match=r"strange\.safetensors is refused: "):
        read(path)


def test_a_consolidated_sampler_reads_like_its_checkpoint(tmp_path: Path) -> None:
    one, two = read(saved(tmp_path, ".ckpt")), read(saved(tmp_path, ".safetensors"))
    assert one["state_dict"].keys() == set(two["state_dict"])
    assert {key: one[key] for key in ("recipe", "temperature")} == {key: two[key] for key in ("recipe", "temperature")}
    assert "pytorch-lightning_version" in PlainFiles().load_checkpoint(tmp_path / "sampler.safetensors")
    sampler = TSPOSampler(dim=16)
    load_sampler(sampler, two)
    assert sampler.temperature == 0.15
    assert torch.equal(sampler.key.weight, two["state_dict"]["sampler.key.weight"])
    with pytest.raises(KeyError):
        two["state_dict"]["sampler.nothing"]


def test_an_mllm_that_does_not_fit_is_named() -> None:
    own = {"sampler.a": torch.zeros(2), "mllm.b": torch.zeros(3)}
    for saved_mllm, expected in (
        ({"mllm.b": torch.zeros(4)}, r"x\.ckpt holds mllm\.b \(4,\), which is \(3,\) here: .* another model\.mllm"),
        ({"mllm.b.lora_A": torch.zeros(4)}, r"mllm\.b\.lora_A \(4,\), which has no place here: .* LoRA layers"),
        ({}, r"x\.ckpt does not hold mllm\.b \(3,\), which is trained here"),
    ):
        checkpoint: dict[str, Any] = {"state_dict": {"sampler.a": torch.zeros(2), **saved_mllm}, "path": "x.ckpt"}
        with pytest.raises(ValueError, match=expected):
            refuse_other(checkpoint, own, own, "Any")
    refuse_other({"state_dict": {"sampler.a": torch.zeros(2)}}, own, ["sampler.a"], "Any")
