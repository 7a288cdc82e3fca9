"""Encoders by name and by folder, and the published TSPO folder both ways."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from safetensors import safe_open

from modules.encoders.open_clip import OpenCLIPEncoder
from modules.encoders.resize import resize
from modules.encoders.siglip_patches import SiglipPatches
from modules.encoders.transformers_clip import TransformersCLIP
from modules.methods.tspo.agent import TSPOSampler
from modules.methods.tspo.published_folder import read_selector, write_tspo_folder
from modules.small_stack.blank_families import write_blank_hf_clip


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("clip")
    write_blank_hf_clip(folder)
    return folder


@pytest.fixture(scope="module")
def frames() -> torch.Tensor:
    return torch.randint(0, 255, (3, 3, 48, 80), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", ["MobileCLIP2-S0", "PE-Core-T-16-384"])
def test_open_clip_models_by_name(name: str, frames: torch.Tensor) -> None:
    encoder = OpenCLIPEncoder(model=name)
    features, texts = encoder.encode_frames(frames[:1]), encoder.encode_texts(["a red star", "the moon"])
    assert features.shape == (1, texts.shape[1])
    assert torch.isfinite(features).all()
    assert encoder.num_truncated == 0
    encoder.encode_texts(["a word " * 100, "short"])
    assert encoder.num_truncated == 1


def test_transformers_clip_is_the_processors(clip_folder: Path, frames: torch.Tensor) -> None:
    encoder = TransformersCLIP(path=str(clip_folder))
    processor = transformers.CLIPProcessor.from_pretrained(clip_folder)
    images = [np.asarray(f.permute(1, 2, 0)) for f in frames]
    inputs = processor(images=images, text=["a star", "the moon is blue"], padding=True, return_tensors="pt")
    theirs = encoder.model.get_image_features(pixel_values=inputs["pixel_values"]).pooler_output
    torch.testing.assert_close(encoder.encode_frames(frames), theirs, atol=5e-3, rtol=5e-3)
    assert torch.nn.functional.cosine_similarity(encoder.encode_frames(frames), theirs).min() > 0.9999
    texts = encoder.model.get_text_features(
        input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]
    ).pooler_output
    torch.testing.assert_close(encoder.encode_texts(["a star", "the moon is blue"]), texts, atol=1e-5, rtol=1e-5)


def test_cropping_changes_key_and_features(clip_folder: Path, frames: torch.Tensor) -> None:
    cropped, whole = TransformersCLIP(path=str(clip_folder)), TransformersCLIP(path=str(clip_folder), crop=False)
    assert cropped.key != whole.key
    assert not torch.allclose(cropped.encode_frames(frames), whole.encode_frames(frames))


def test_long_questions_are_cut_and_counted(clip_folder: Path, caplog) -> None:
    encoder = TransformersCLIP(path=str(clip_folder))
    features = encoder.encode_texts(["what is shown " * 60, "short"])
    assert features.shape == (2, 32)
    assert encoder.num_truncated == 1
    assert "1 of 2 texts are longer than CLIP's 77 tokens" in caplog.text


def test_the_published_folder_there_and_back(clip_folder: Path, frames: torch.Tensor, tmp_path: Path) -> None:
    encoder, sampler = TransformersCLIP(path=str(clip_folder)), TSPOSampler(dim=32, num_heads=8)
    write_tspo_folder(encoder.model, str(clip_folder), sampler.official_state_dict(), tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert (config["architectures"], config["model_type"]) == (["TSPOModel"], "clip")
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        names = set(file.keys())
        assert all(file.get_tensor(n).dtype == torch.bfloat16 for n in names)
    assert names == {*encoder.model.state_dict(), *sampler.official_state_dict()}
    again, trained = TransformersCLIP(path=str(tmp_path)), TSPOSampler(dim=32, num_heads=8, weights=str(tmp_path))
    torch.testing.assert_close(again.encode_frames(frames), encoder.encode_frames(frames), atol=0.05, rtol=0.05)
    for name, value in trained.state_dict().items():
        torch.testing.assert_close(value, sampler.state_dict()[name].bfloat16().float())
    with pytest.raises(ValueError, match=r"no selector\.\* tensors"):
        read_selector(str(clip_folder))
    with pytest.raises(ValueError, match="expected"):
        TSPOSampler(dim=64, weights=str(tmp_path))


def test_tspo_0_4b_has_602_tensors_and_431_160_065_parameters() -> None:
    """ViT-L/14 and the selector at their published size, on the meta device."""
    text = {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12, "projection_dim": 768}
    vision = {
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "patch_size": 14,
        "projection_dim": 768,
    }
    with torch.device("meta"):
        clip = transformers.CLIPModel(
            transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=768)
        )
        sampler = TSPOSampler()
    tensors = {**clip.state_dict(), **sampler.official_state_dict()}
    assert len(tensors) == 602
    assert sum(t.numel() for t in tensors.values()) == 431_160_065


def test_resizing_in_integers_is_resizing_in_floats_rounded() -> None:
    frames = torch.randint(0, 255, (4, 3, 90, 160), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    real = torch.nn.functional.interpolate(frames.float(), (32, 56), mode="bicubic", antialias=True).clamp(0, 255)
    assert (resize(frames, (32, 56)).float() - real).abs().max() <= 1.0
    assert resize(frames, (90, 160)) is frames


@pytest.mark.parametrize(("pool_by", "num_tokens"), [("bilinear", 9), ("average", 4), ("max", 4)])
def test_patch_tokens(tmp_path: Path, pool_by: str, num_tokens: int) -> None:
    config = transformers.SiglipVisionConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=3, num_attention_heads=2, image_size=70, patch_size=14
    )
    transformers.SiglipVisionModel(config).save_pretrained(tmp_path)
    encoder = SiglipPatches(path=str(tmp_path), pool_by=pool_by, frames_per_forward=2)
    frames = torch.randint(0, 256, (3, 3, 48, 90), dtype=torch.uint8)
    tokens = encoder.encode_frames(frames)
    assert tokens.shape == (3, num_tokens, 16)  # 5 x 5 patches in squares of 2
    torch.testing.assert_close(encoder.encode_frames(frames[1:2])[0], tokens[1], atol=1e-5, rtol=1e-5)
    assert SiglipPatches(path=str(tmp_path), pool_by=pool_by, pool=3).key != encoder.key
    with torch.no_grad():  # the last layer is not there
        encoder.model.encoder.layers[-1].mlp.fc2.bias.add_(torch.arange(16.0))
    torch.testing.assert_close(encoder.encode_frames(frames), tokens)
    with torch.no_grad():
        encoder.model.encoder.layers[-2].mlp.fc2.bias.add_(torch.arange(16.0))
    assert (encoder.encode_frames(frames) - tokens).abs().max() > 1e-3
