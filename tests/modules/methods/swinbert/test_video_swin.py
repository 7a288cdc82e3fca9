"""The backbone: published weights under torchvision's names give what the published network gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from swinbert_parts import small_swin
from vidswin_reference import random_vidswin, vidswin

from modules.methods.swinbert.frame_crops import square_crops
from modules.methods.swinbert.video_swin import VideoSwin
from modules.methods.swinbert.vidswin_checkpoint import read_vidswin, torchvision_name

_SHAPE: dict[str, Any] = {
    "embed_dim": 8,
    "depths": [2, 2],
    "num_heads": [2, 4],
    "window": [2, 3, 3],
    "patch": [2, 4, 4],
}


def published(path: Path, **changes: Any) -> dict[str, torch.Tensor]:
    weights = random_vidswin(**{**_SHAPE, **changes})
    torch.save({"meta": {"epoch": 30}, "state_dict": weights}, path)
    return weights


@pytest.mark.parametrize(
    ("num_frames", "height", "width"), [(8, 24, 24), (4, 48, 24), (7, 50, 37), (2, 24, 28)], ids=str
)
def test_published_weights_give_what_the_papers_network_gives(
    tmp_path: Path, num_frames: int, height: int, width: int
) -> None:
    """Even and odd lengths, sizes that windows and patches do not divide, and fewer steps than a window has."""
    weights = published(tmp_path / "swin.pth")
    swin = VideoSwin(**_SHAPE, weights=str(tmp_path / "swin.pth")).eval()
    frames = torch.randint(0, 256, (1, num_frames, 3, height, width)).to(torch.uint8)
    pixels = (frames[0].transpose(0, 1).float() / 255 - swin.mean) / swin.std
    expected = vidswin(weights, pixels, _SHAPE["num_heads"], _SHAPE["window"], _SHAPE["patch"])
    assert tuple(expected.shape[:3]) == swin.grid(num_frames, height, width)
    with torch.no_grad():
        torch.testing.assert_close(swin(frames)[0], expected.flatten(0, 2), atol=2e-4, rtol=2e-4)


def test_a_block_that_does_not_shift_its_windows_is_found_out(tmp_path: Path) -> None:
    published(tmp_path / "swin.pth")
    swin = VideoSwin(**_SHAPE, weights=str(tmp_path / "swin.pth")).eval()
    frames = torch.randint(0, 256, (1, 8, 3, 24, 24)).to(torch.uint8)
    with torch.no_grad():
        right = swin(frames)
        swin.features[0][1].attn.shift_size = [0, 0, 0]
        assert (swin(frames) - right).abs().max() > 1e-2


@pytest.mark.parametrize(
    ("embed_dim", "depths", "heads"), [(96, [2, 2, 6, 2], [3, 6, 12, 24]), (128, [2, 2, 18, 2], [4, 8, 16, 32])]
)
def test_every_tensor_of_a_published_size_has_its_place(embed_dim: int, depths: list[int], heads: list[int]) -> None:
    """VidSwin-T and B, by name and shape; no number is computed."""
    window, patch = [8, 7, 7], [2, 4, 4]
    with torch.device("meta"):
        own = VideoSwin(embed_dim=embed_dim, depths=depths, num_heads=heads).named_parameters()
    shapes = {torchvision_name(n): t.shape for n, t in _on_meta(embed_dim, depths, heads, window, patch).items()}
    left_out = {n for n in shapes if n.startswith("cls_head") or n.endswith("relative_position_index")}
    assert {n: s for n, s in shapes.items() if n not in left_out} == {n: p.shape for n, p in own}


def _on_meta(*shape: Any) -> dict[str, torch.Tensor]:
    real = torch.randn
    try:
        torch.randn = lambda size, generator=None: torch.empty(size, device="meta")  # type: ignore[assignment]
        return random_vidswin(*shape)
    finally:
        torch.randn = real  # type: ignore[assignment]


def test_names_of_swinberts_own_checkpoints_are_known() -> None:
    name = "swin.backbone.layers.2.blocks.17.mlp.fc2.bias"
    assert torchvision_name(name) == "features.4.17.mlp.3.bias"
    assert torchvision_name("module.swin.backbone.layers.1.downsample.norm.weight") == "features.3.norm.weight"
    assert torchvision_name("features.3.norm.weight") == "features.3.norm.weight"


def test_safetensors_and_torchvisions_own_states_are_read(tmp_path: Path) -> None:
    swin = small_swin()
    save_file(swin.state_dict(), tmp_path / "swin.safetensors")
    again = small_swin(weights=str(tmp_path / "swin.safetensors"))
    for name, tensor in swin.named_parameters():
        assert tensor.equal(again.state_dict()[name])


def test_the_published_index_of_the_table_is_torchvisions(tmp_path: Path) -> None:
    published = random_vidswin(**_SHAPE)["backbone.layers.1.blocks.1.attn.relative_position_index"]
    assert published.equal(VideoSwin(**_SHAPE).state_dict()["features.2.1.attn.relative_position_index"])


def test_a_file_of_another_size_is_refused_by_name_and_shapes(tmp_path: Path) -> None:
    published(tmp_path / "swin.pth", embed_dim=16)
    with pytest.raises(ValueError, match=r"another size .* \(16, 3, 2, 4, 4\) in the file and \(8, 3, 2, 4, 4\) here"):
        VideoSwin(**_SHAPE, weights=str(tmp_path / "swin.pth"))


def test_files_that_are_no_checkpoints_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is no file"):
        read_vidswin(str(tmp_path / "nothing.pth"))
    torch.save({"state_dict": {"a": print}}, tmp_path / "code.pth")
    with pytest.raises(ValueError, match="more than plain data"):
        read_vidswin(str(tmp_path / "code.pth"))
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(ValueError, match="no checkpoint of a VidSwin"):
        read_vidswin(str(tmp_path / "list.pth"))


def test_checkpointed_gradients_are_the_same() -> None:
    torch.manual_seed(0)
    swin, frames = small_swin(), torch.randint(0, 256, (2, 4, 3, 16, 16)).to(torch.uint8)
    found = []
    for again in (False, True):
        swin.gradient_checkpointing = again
        swin.zero_grad()
        swin(frames).square().sum().backward()
        found.append([p.grad.clone() for p in swin.parameters() if p.grad is not None])
    assert len(found[0]) == len(list(swin.parameters()))
    for one, two in zip(*found, strict=True):
        torch.testing.assert_close(one, two)


def test_lists_that_do_not_belong_together_are_refused() -> None:
    with pytest.raises(ValueError, match="one number a stage"):
        VideoSwin(depths=[2, 2], num_heads=[2])
    with pytest.raises(ValueError, match="time first"):
        VideoSwin(window=[7, 7])


# ---- squares ----


def test_crops_are_squares_of_the_middle_or_of_anywhere() -> None:
    frames = torch.arange(8)[None, None, None, :].expand(2, 3, 4, 8).to(torch.uint8)  # columns are numbered
    assert square_crops(frames, 4)[0, 0, 0].tolist() == [2, 3, 4, 5]
    lefts = {int(square_crops(frames, 4, torch.Generator().manual_seed(n))[0, 0, 0, 0]) for n in range(30)}
    assert lefts == {0, 1, 2, 3, 4}


@pytest.mark.parametrize(("height", "width"), [(90, 160), (160, 90), (20, 31), (64, 64)])
def test_crops_have_the_size_asked_for(height: int, width: int) -> None:
    frames = torch.full((2, 3, height, width), 77, dtype=torch.uint8)
    cut = square_crops(frames, 64)
    assert cut.shape == (2, 3, 64, 64)
    assert cut.dtype == torch.uint8
    assert cut.unique().tolist() == [77]
