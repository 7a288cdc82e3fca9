"""`lightning run recipes/data/pack_weights.yaml`."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from modules.files.packed_weights import SUFFIX, unpack, weight_names
from modules.mllms.llava_onevision import LlavaOnevision
from modules.small_stack.blank import write_blank_vlm
from recipes.jobs.pack_weights import PackWeights


def test_a_folder_answers_as_before(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_blank_vlm(tmp_path / "whole", ["a red star"])
    PackWeights(source=str(tmp_path / "whole"), out=str(tmp_path / "packed")).run(tmp_path)
    assert "in place of" in capsys.readouterr().out
    before, after = (LlavaOnevision(path=str(tmp_path / name)) for name in ("whole", "packed"))
    for (name, old), new in zip(before.model.named_parameters(), after.model.parameters(), strict=True):
        largest = old.flatten(1).abs().amax() if old.ndim > 1 else old.abs().max()
        assert (old - new).abs().max() <= largest / 200 + 1e-7, name
    assert not list((tmp_path / "packed").glob("model.safetensors"))


def test_a_file_keeps_its_header_but_for_sums(tmp_path: Path) -> None:
    weights = {"sampler.w": torch.randn(3, 3)}
    save_file(weights, tmp_path / "s.safetensors", {"recipe": "name: x", "crc32": "{}"})
    PackWeights(source=str(tmp_path / "s.safetensors"), out=str(tmp_path / "out")).run(tmp_path)
    with safe_open(tmp_path / f"out/s{SUFFIX}", "pt") as file:
        assert file.metadata() == {"recipe": "name: x"}
        assert weight_names(file.keys()) == ["sampler.w"]
        torch.testing.assert_close(
            unpack({name: file.get_tensor(name) for name in file.keys()})["sampler.w"].float(),  # noqa: SIM118
            weights["sampler.w"],
            rtol=0,
            atol=float(weights["sampler.w"].abs().max()) / 200,
        )


def test_nothing_to_pack(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^job.source: .* holds no .safetensors file to pack"):
        PackWeights(source=str(tmp_path), out=str(tmp_path / "out")).run(tmp_path)


def test_the_source_stays_as_it_is(tmp_path: Path) -> None:
    write_blank_vlm(tmp_path / "whole", ["a red star"])
    before = sorted(path.name for path in (tmp_path / "whole").iterdir())
    with pytest.raises(ValueError, match=r"^job.out: .* is the source"):
        PackWeights(source=str(tmp_path / "whole"), out=str(tmp_path / "whole/../whole")).run(tmp_path)
    assert sorted(path.name for path in (tmp_path / "whole").iterdir()) == before


def test_a_file_that_is_cut_off_is_named(tmp_path: Path) -> None:
    cut = tmp_path / "model.safetensors"
    save_file({"w": torch.ones(30, 30)}, cut)
    cut.write_bytes(cut.read_bytes()[:100])
    with pytest.raises(ValueError, match=f"^{cut} is not packed: "):
        PackWeights(source=str(tmp_path), out=str(tmp_path / "out")).run(tmp_path)
    assert not (tmp_path / "out").exists()
