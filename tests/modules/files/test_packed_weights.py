"""Packed weights: what is lost, and that every loader reads them as it reads whole ones."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from modules.checkpoints.weights import read_weights, shape_of
from modules.encoders.open_clip import OpenCLIPEncoder
from modules.files.packed_weights import SUFFIX, loadable, pack, unpack
from modules.methods.videostreaming.frame_tokens import MergedPatches
from modules.methods.videostreaming.language_layers import LanguageLayers
from modules.mllms.llava_onevision import LlavaOnevision
from modules.roles.local_reasoner import LocalReasoner
from recipes.launcher.guard import ROOT

WEIGHTS = ROOT / "recipes/haystack/weights"


def test_by_hand() -> None:
    packed = pack({"layer": torch.tensor([[127.0, 1.4, -0.6], [0.0, 0.0, 0.0]]), "bias": torch.tensor([0.3])})
    assert packed["layer"].dtype == torch.int8
    assert packed["layer"].tolist() == [[127, 1, -1], [0, 0, 0]]
    assert packed["layer.int8_scale"][0] == 1.0
    whole = unpack(packed)
    assert whole.keys() == {"layer", "bias"}
    assert whole["layer"].tolist() == [[127.0, 1.0, -1.0], [0.0, 0.0, 0.0]]
    assert whole["bias"].dtype == torch.float16


@pytest.mark.parametrize("shape", [(5, 7), (3, 4, 2, 2), (1, 1)])
@pytest.mark.parametrize("size", [1e-5, 1.0, 1e3])
def test_a_weight_is_off_by_half_a_step_of_its_row_at_most(shape: tuple[int, ...], size: float) -> None:
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * size
    back = unpack(pack({"w": weight}))["w"].float()
    assert back.shape == weight.shape
    largest = weight.flatten(1).abs().amax(1).clamp_min(127 * 6.2e-5)  # a smaller scale half precision does not hold
    off = (back - weight).flatten(1).abs().amax(1)
    # 127 steps of a scale that is itself rounded, by 2^-11; and so is the product
    assert (off <= largest * (0.5 / 127 + 2**-10)).all()


def test_packing_twice_changes_nothing() -> None:
    weights = {"w": torch.randn(20, 30, generator=torch.Generator().manual_seed(1))}
    once = unpack(pack(weights))
    torch.testing.assert_close(unpack(pack(once))["w"], once["w"], rtol=2**-9, atol=0)


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), 1e6])
def test_what_half_precision_does_not_hold_is_refused(wrong: float) -> None:
    with pytest.raises(ValueError, match=r"^w: half precision"):
        pack({"w": torch.tensor([[1.0, wrong]])})


def test_integers_of_another_program_are_refused() -> None:
    packed = pack({"w": torch.ones(2, 3)})
    del packed["w.int8_scale"]
    with pytest.raises(ValueError, match="8-bit weights without scales"):
        unpack(packed)


def test_a_folder_without_packed_weights_and_a_hub_id_are_as_they_are(tmp_path: Path) -> None:
    for source in (str(tmp_path), f"local-dir:{tmp_path}", "org/name"):
        with loadable(source) as place:
            assert place == source


def test_weights_that_are_there_twice_are_refused(tmp_path: Path) -> None:
    """After a training from packed weights into their own folder, the packed ones are those of before."""
    shutil.copytree(WEIGHTS / "clip", tmp_path / "clip")
    whole = tmp_path / "clip" / "open_clip_model.safetensors"
    save_file({"a": torch.ones(1)}, whole)
    with (
        pytest.raises(
            ValueError, match=r"has both open_clip_model\.safetensors and open_clip_model\.int8\.safetensors"
        ),
        loadable(f"local-dir:{tmp_path / 'clip'}"),
    ):
        pass
    whole.unlink()
    with loadable(f"local-dir:{tmp_path / 'clip'}") as place:
        assert place != str(tmp_path / "clip")


def test_nothing_stays_behind() -> None:
    with loadable(str(WEIGHTS / "clip")) as place:
        assert {path.name for path in Path(place).iterdir()} >= {"open_clip_model.safetensors", "tokenizer.json"}
        assert not list(Path(place).glob(f"*{SUFFIX}"))
    assert not Path(place).exists()


def test_what_a_killed_process_has_left_goes_once_it_is_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    old, new, other = (tmp_path / name for name in ("kairos-weights-old", "kairos-weights-new", "theirs"))
    for folder in (old, new, other):
        folder.mkdir()
        (folder / "model.safetensors").write_text("")
    link = tmp_path / "kairos-weights-link"
    link.symlink_to(other, target_is_directory=True)
    for folder in (old, other):
        os.utime(folder, (0, 0))
    with loadable(str(WEIGHTS / "clip")):
        pass
    assert not old.exists()
    assert new.exists()
    assert (other / "model.safetensors").exists(), "what a link leads to is not ours"


def _state(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


@pytest.mark.parametrize(
    ("name", "load"),
    [
        ("vlm", lambda folder: LlavaOnevision(path=folder)),
        ("reasoner", lambda folder: LocalReasoner(path=folder)),
        ("clip", lambda folder: OpenCLIPEncoder(model=f"local-dir:{folder}")),
        ("vlm", lambda folder: LanguageLayers(path=folder, num_layers=2)),
        ("vlm", lambda folder: MergedPatches(path=folder)),
    ],
)
def test_every_loader_reads_them(name: str, load: Callable[[str], Any], tmp_path: Path) -> None:
    """The same as from an ordinary folder, and nothing remembers where they were unpacked."""
    whole = tmp_path / name
    shutil.copytree(WEIGHTS / name, whole)
    for path in whole.glob(f"*{SUFFIX}"):
        save_file(unpack(load_file(path)), whole / path.name.replace(SUFFIX, ".safetensors"), {"format": "pt"})
        path.unlink()
    expected, found = load(str(whole)), load(str(WEIGHTS / name))
    torch.testing.assert_close(_state(found), _state(expected), rtol=0, atol=0)
    model = getattr(found, "model", None)
    if hasattr(model, "save_pretrained"):
        model.save_pretrained(tmp_path / "saved")
        assert "kairos-weights" not in (tmp_path / "saved/config.json").read_text()


def test_a_single_file_is_read_one_weight_at_a_time(tmp_path: Path) -> None:
    weights = {"sampler.a": torch.randn(4, 6), "sampler.b": torch.randn(4)}
    file = tmp_path / f"sampler{SUFFIX}"
    save_file(pack(weights), file)
    read = read_weights(str(file))
    assert set(read) == set(weights)
    assert len(read) == 2
    assert shape_of(read, "sampler.a") == (4, 6)
    for name, tensor in unpack(pack(weights)).items():
        torch.testing.assert_close(read[name], tensor, rtol=0, atol=0)
    with pytest.raises(KeyError):
        read["sampler.a.int8_scale"]
