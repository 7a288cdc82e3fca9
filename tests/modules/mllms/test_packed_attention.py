"""A tower whose windows are batched against the same tower as transformers has it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import transformers

from modules.mllms.packed_attention import pack_attention
from modules.mllms.qwen_vl import Qwen3VL, Qwen25VL
from modules.small_stack.blank_families import write_blank_family

GRIDS = torch.tensor(
    [[1, 10, 14], [2, 6, 4], [1, 10, 14], [1, 2, 2]]
)  # whole windows and edges, and frames of two sizes


def towers(family: str, attention: str = "sdpa") -> tuple[torch.nn.Module, torch.nn.Module]:
    """One of random weights as it is and with its attention packed."""
    torch.manual_seed(0)
    shared = {"depth": 3, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2, "out_hidden_size": 24}
    if family == "qwen2_5_vl":
        config = transformers.Qwen2_5_VLConfig(
            vision_config={**shared, "fullatt_block_indexes": [1], "window_size": 56}
        ).vision_config
    else:
        config = transformers.Qwen3VLConfig(
            vision_config={**shared, "patch_size": 14, "deepstack_visual_indexes": [0], "num_position_embeddings": 64}
        ).vision_config
    own = transformers.AutoModel.from_config(config, attn_implementation=attention, dtype=torch.float32)
    with torch.no_grad():
        for parameter in own.parameters():
            parameter.copy_(0.2 * torch.randn(parameter.shape))
    packed = copy.deepcopy(own)
    pack_attention(packed)
    return own, packed


def num_calls(run: Callable[..., object], *args: object, **kwargs: object) -> int:
    """How often the attention kernel is called."""
    with torch.no_grad(), torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        run(*args, **kwargs)
    return sum(event.name == "aten::scaled_dot_product_attention" for event in profile.events())


@pytest.mark.parametrize("family", ["qwen2_5_vl", "qwen3_vl"])
def test_outputs_and_gradients_are_the_familys_own(family: str) -> None:
    own, packed = towers(family)
    num_patches = int(GRIDS.prod(-1).sum())
    pixels = torch.randn(num_patches, 3 * 2 * 14 * 14, generator=torch.Generator().manual_seed(1))
    results = []
    for tower in (own, packed, copy.deepcopy(packed)):
        given = pixels.clone().requires_grad_(True)
        output = tower(given, grid_thw=GRIDS).pooler_output
        (output * torch.arange(output.numel()).view_as(output).sin()).sum().backward()
        results.append((output, given.grad, [p.grad for p in tower.parameters()]))
    for output, of_pixels, of_weights in results[1:]:
        torch.testing.assert_close(output, results[0][0], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(of_pixels, results[0][1], atol=1e-4, rtol=1e-3)
        for ours, theirs in zip(of_weights, results[0][2], strict=True):
            torch.testing.assert_close(ours, theirs, atol=2e-3, rtol=1e-3)


@pytest.mark.parametrize("family", ["qwen2_5_vl", "qwen3_vl"])
def test_calls_do_not_grow_with_frames_or_windows(family: str) -> None:
    own, packed = towers(family)
    grids = torch.tensor([[1, 10, 14]]).repeat(6, 1)
    pixels = torch.randn(int(grids.prod(-1).sum()), 3 * 2 * 14 * 14)
    assert num_calls(packed, pixels, grid_thw=grids) <= 3 * 4
    assert num_calls(packed, pixels, grid_thw=grids) == num_calls(packed, pixels[:140], grid_thw=grids[:1])
    assert num_calls(own, pixels, grid_thw=grids) == 6 * num_calls(own, pixels[:140], grid_thw=grids[:1])


@pytest.mark.parametrize(("family", "cls"), [("qwen2_5_vl", Qwen25VL), ("qwen3_vl", Qwen3VL)])
def test_encoding_many_frames_takes_as_many_calls_as_one(family: str, cls: type[Qwen25VL], tmp_path: Path) -> None:
    write_blank_family(family, tmp_path)
    mllm = cls(path=str(tmp_path), frames_per_grid=1)
    frames = torch.randint(0, 255, (5, 3, 140, 196), dtype=torch.uint8)
    assert num_calls(mllm.encode_frames, frames) == num_calls(mllm.encode_frames, frames[:1])


def test_a_copy_reads_with_its_own_weights() -> None:
    _, packed = towers("qwen2_5_vl")
    other = copy.deepcopy(packed)
    pixels = torch.randn(140, 3 * 2 * 14 * 14)
    before = packed(pixels, grid_thw=GRIDS[:1]).pooler_output
    with torch.no_grad():
        other.blocks[0].attn.qkv.weight.mul_(2)
    assert torch.equal(packed(pixels, grid_thw=GRIDS[:1]).pooler_output, before)
    assert not torch.allclose(other(pixels, grid_thw=GRIDS[:1]).pooler_output, before)


def test_other_kernels_are_left_alone() -> None:
    own, packed = towers("qwen2_5_vl", "eager")
    assert type(packed.blocks[0].attn).forward == type(own.blocks[0].attn).forward
    assert "forward" not in vars(packed.blocks[0].attn)
