"""What is no checkpoint, or no longer one, is refused in a sentence by every way in; weights are finite or refused."""

from __future__ import annotations

import random
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from modules.checkpoints import checkpoint_files
from modules.checkpoints.checkpoint_files import Gathered, read, write
from modules.checkpoints.checkpoint_sums import SUMS_KEY, sums_of
from modules.checkpoints.weights import read_weights
from recipes.launcher import cli
from recipes.launcher.guard import ROOT
from recipes.launcher.whole_checkpoints import whole_or_another


def content(shares: bool) -> dict[str, Any]:
    """A small checkpoint; its tensors whole, or to be put together."""
    generator = torch.Generator().manual_seed(3)
    tensors = {f"sampler.{n}": torch.randn(64, 9, generator=generator) for n in range(4)}
    moments = torch.rand(64, 9, generator=generator)
    weights: dict[str, Any] = dict(tensors)
    if shares:
        weights = {n: Gathered(t.shape, lambda t=t: t) for n, t in tensors.items()}
    return {"state_dict": weights, "optimizer_states": [{"state": {0: {"exp_avg": moments}}}], "global_step": 7}


def damaged(kind: str, good: Path, video: Path) -> Path:
    """A path at which there is no whole checkpoint."""
    bad = good.with_name(f"{kind}.ckpt")
    whole = good.read_bytes()
    if kind == "folder":
        bad.mkdir()
    elif kind == "other zip":
        with zipfile.ZipFile(bad, "w") as archive:
            archive.writestr("notes.txt", "no weights")
    elif kind == "only numbers":
        torch.save([1, 2, 3], bad)
    else:
        bad.write_bytes(
            {
                "empty": b"",
                "text": b"#!/bin/sh\necho no\n",
                "one byte": whole[:1],
                "begun": whole[:1000],
                "half": whole[: len(whole) // 2],
                "without its end": whole[:-1],
                "zeros": bytes(len(whole)),
                "hole": whole[:2000] + bytes(600) + whole[2600:],
                "video": video.read_bytes(),
            }[kind]
        )
    return bad


KINDS = (
    "empty",
    "text",
    "one byte",
    "begun",
    "half",
    "without its end",
    "zeros",
    "hole",
    "video",
    "folder",
    "other zip",
    "only numbers",
)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_checkpoint_is_refused_in_one_sentence(kind: str, tmp_path: Path, short_video: Path) -> None:
    good = tmp_path / "good.ckpt"
    write(content(shares=False), good)
    bad = damaged(kind, good, short_video)
    for load in (read, read_weights):
        with pytest.raises(ValueError, match="is refused: ") as refusal:
            load(str(bad))
        assert str(bad) in str(refusal.value)
        assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("shares", [False, True])
def test_a_flipped_bit_is_refused_or_changes_nothing(shares: bool, tmp_path: Path) -> None:
    """Some bits mean nothing, as those of the padding between tensors."""
    good, bad = tmp_path / "good.ckpt", tmp_path / "bad.ckpt"
    write(content(shares), good)
    expected, whole, rng, refused = read(good), good.read_bytes(), random.Random(0), 0
    for _ in range(150):
        flipped = bytearray(whole)
        flipped[rng.randrange(len(whole))] ^= 1 << rng.randrange(8)
        bad.unlink(missing_ok=True)
        bad.write_bytes(flipped)
        try:
            found = read(bad)
        except ValueError:
            refused += 1
            continue
        assert found["global_step"] == 7
        for name, tensor in expected["state_dict"].items():
            assert torch.equal(found["state_dict"][name], tensor)
        (one,), (two,) = expected["optimizer_states"], found["optimizer_states"]
        assert torch.equal(one["state"][0]["exp_avg"], two["state"][0]["exp_avg"])
    assert refused > 90  # most of the file is numbers


def test_sums_are_those_of_the_zip_archive(tmp_path: Path) -> None:
    for shares in (False, True):
        write(content(shares), tmp_path / "a.ckpt")
        with zipfile.ZipFile(tmp_path / "a.ckpt") as archive:
            assert archive.testzip() is None
            assert all(record.CRC for record in archive.infolist())


def test_an_older_file_without_sums_is_loaded_and_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(checkpoint_files, "keep_sums", lambda *_: None)
    write(content(shares=True), tmp_path / "old.ckpt")
    assert read(tmp_path / "old.ckpt")["global_step"] == 7
    assert "keeps no checksums of 5 tensors" in caplog.text


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_neither_saved_nor_loaded(tmp_path: Path, number: float) -> None:
    path = tmp_path / "last.ckpt"
    good = content(shares=False)
    write(good, path)
    before = path.read_bytes()
    spoilt = torch.full((2,), number)
    for shares in (False, True):
        broken = content(shares)
        broken["state_dict"]["sampler.2"] = Gathered(spoilt.shape, lambda: spoilt) if shares else spoilt
        with pytest.raises(ValueError, match=r"sampler\.2.*no longer finite"):
            write(broken, path)
        assert path.read_bytes() == before
        assert sorted(p.name for p in tmp_path.iterdir()) == ["last.ckpt"]
    other = {**good, "optimizer_states": [{"state": {0: {"exp_avg": torch.tensor([1.0, number])}}}]}
    with pytest.raises(ValueError, match="optimizer's states"):
        write(other, path)
    torch.save({"state_dict": {"sampler.0": torch.tensor([1.0, number])}}, tmp_path / "foreign.ckpt")
    save_file({"sampler.0": torch.tensor([1.0, number])}, tmp_path / "foreign.safetensors")
    for name in ("foreign.ckpt", "foreign.safetensors"):
        with pytest.raises(ValueError, match=r"sampler\.0 in it is not finite"):
            read_weights(str(tmp_path / name))
    torch.save({"state_dict": {"half": torch.ones(2, dtype=torch.bfloat16)}, "kth": torch.tensor(number)}, path)
    assert read(path)  # a callback may keep an infinite number


def test_resume_names_the_checkpoint_that_is_whole(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    for step in (2, 4, 6):
        write(content(shares=False), folder / f"step={step}.ckpt")
    (folder / "last.ckpt").symlink_to("step=6.ckpt")
    assert whole_or_another(folder / "last.ckpt") == folder / "last.ckpt"
    for step in (6, 4):
        (folder / f"step={step}.ckpt").write_bytes((folder / "step=2.ckpt").read_bytes()[: 400 * step])
    with pytest.raises(ValueError, match=r"step=2\.ckpt is whole: `ln -sf step=2\.ckpt") as refusal:
        whole_or_another(folder / "last.ckpt")
    assert "last.ckpt is refused: it is cut off or damaged" in str(refusal.value)
    (folder / "step=2.ckpt").unlink()
    with pytest.raises(ValueError, match="start it anew"):
        whole_or_another(folder / "last.ckpt")


def test_a_consolidated_sampler_that_was_damaged_is_refused(tmp_path: Path) -> None:
    weights = {f"sampler.{n}": torch.randn(16, 3) for n in range(2)}
    good, bad = tmp_path / "good.safetensors", tmp_path / "bad.safetensors"
    save_file(weights, good, {"format": "pt", SUMS_KEY: sums_of(weights)})
    assert read_weights(str(good)).keys() == weights.keys()
    whole = bytearray(good.read_bytes())
    whole[-10] ^= 4
    bad.write_bytes(whole)
    with pytest.raises(ValueError, match=r"bad\.safetensors is refused: it is damaged: sampler\.1"):
        read_weights(str(bad))
    bad.write_bytes(whole[:-10])
    with pytest.raises(ValueError, match=r"bad\.safetensors is refused: "):
        read_weights(str(bad))


SMOKE = ["run", str(ROOT / "recipes/tspo.yaml"), "--overlay", str(ROOT / "recipes/overlays/smoke.yaml")]


@pytest.mark.parametrize("kind", ["half", "text"])
@pytest.mark.parametrize("way", ["--checkpoint", "last:NAME", "--resume", "--resume last", "init_from", "consolidate"])
def test_every_way_in_says_one_sentence(
    way: str, kind: str, tmp_path: Path, short_video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_dir = tmp_path / "outputs/tspo/20260101-000000"
    write(content(shares=False), run_dir / "checkpoints/good.ckpt")
    bad = damaged(kind, run_dir / "checkpoints/good.ckpt", short_video)
    last = run_dir / "checkpoints/last.ckpt"
    shutil.copy(bad, last)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("KAIROS_RUN_DIR", raising=False)
    words = {
        "--checkpoint": [*SMOKE, "--checkpoint", str(last), "--stage", "test"],
        "last:NAME": [*SMOKE, "--checkpoint", "last:tspo", "--stage", "test"],
        "--resume": [*SMOKE, "--resume", str(run_dir)],
        "--resume last": [*SMOKE, "--resume", "last"],
        "init_from": [*SMOKE, "--model.init_from", "last:tspo"],
        "consolidate": ["consolidate", "last:tspo", "build/out"],
    }[way]
    with pytest.raises(SystemExit) as ended:
        cli.main(words)
    told = str(ended.value.code)
    assert told.startswith("error: ")
    assert "last.ckpt is refused: " in told
    assert told.count("\n") == 1  # and how to see where
    assert not (tmp_path / "build").exists()
    assert ("good.ckpt is whole" in told) == way.startswith("--resume")
