"""LLaVA-Video's weights under transformers' names: a small checkpoint in the original layout, converted."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import save_file

from modules.mllms.llava_video import convert, renamed
from modules.small_stack.blank_families import write_blank_family


def original_name(name: str) -> str:
    """The inverse, written down from the original code base's module tree."""
    for ours, theirs in (
        ("model.vision_tower.", "model.vision_tower.vision_tower.vision_model."),
        ("model.multi_modal_projector.linear_1.", "model.mm_projector.0."),
        ("model.multi_modal_projector.linear_2.", "model.mm_projector.2."),
        ("model.language_model.", "model."),
    ):
        if name.startswith(ours):
            return name.replace(ours, theirs, 1)
    return name


@pytest.fixture
def models(tmp_path: Path) -> tuple[transformers.LlavaOnevisionForConditionalGeneration, Path]:
    write_blank_family("llava_onevision", tmp_path / "blank")
    model = transformers.LlavaOnevisionForConditionalGeneration.from_pretrained(tmp_path / "blank")
    source = tmp_path / "original"
    source.mkdir()
    tensors = {original_name(n): t.clone().contiguous() for n, t in model.state_dict().items()}
    layer = "model.vision_tower.vision_tower.vision_model.encoder.layers."
    last = {n.replace(f"{layer}1.", f"{layer}2."): t + 1 for n, t in tensors.items() if n.startswith(f"{layer}1.")}
    head = {"model.vision_tower.vision_tower.vision_model.head.probe": torch.ones(1, 1, 32)}
    whole = {**tensors, **last, **head}
    names = sorted(whole)
    save_file({n: whole[n] for n in names[::2]}, source / "model-00001-of-00002.safetensors")
    save_file({n: whole[n] for n in names[1::2]}, source / "model-00002-of-00002.safetensors")
    return model, source


def test_converted_weights_are_the_original_ones(models) -> None:
    model, source = models
    blank = transformers.LlavaOnevisionForConditionalGeneration(model.config)
    convert(source, blank)
    for name, value in model.state_dict().items():
        assert torch.equal(blank.state_dict()[name], value), name


def test_what_does_not_fit_is_named(models) -> None:
    model, source = models
    (source / "model-00001-of-00002.safetensors").unlink()
    with pytest.raises(ValueError, match="is not in the checkpoint"):
        convert(source, model)
    with pytest.raises(ValueError, match=r"no \.safetensors"):
        convert(source.parent, model)
    with pytest.raises(ValueError, match="no tensor of LLaVA-Video"):
        renamed("something.else")
