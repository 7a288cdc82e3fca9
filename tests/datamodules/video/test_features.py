"""The feature store: what is saved is what is loaded; anything else is refused and can be made again."""

from __future__ import annotations

import multiprocessing
import os
import pickle
from pathlib import Path

import pytest
import torch

from datamodules.video.feature_store import Entry, FeatureStore
from datamodules.video.sealed import seal, unseal
from modules.files.whole_files import StorageError
from modules.records import Candidates


@pytest.fixture
def video(tmp_path: Path) -> str:
    path = tmp_path / "v.mp4"
    path.write_bytes(b"frames")
    return str(path)


def entry(video: str) -> Entry:
    times = torch.arange(5, dtype=torch.float64)
    return Entry(Candidates(video, torch.arange(5) * 25, times, 5.0), torch.randn(5, 8).half())


def test_round_trip(tmp_path: Path, video: str) -> None:
    store, saved = FeatureStore(tmp_path / "s", "fps=1"), entry(video)
    assert not store.has(video, "clip")
    store.save(video, "clip", saved)
    assert store.has(video, "clip")
    loaded = store.load(video, "clip")
    assert torch.equal(loaded.features, saved.features)
    assert torch.equal(loaded.candidates.frame_ids, saved.candidates.frame_ids)
    assert loaded.candidates.duration_s == 5.0
    assert not list((tmp_path / "s").rglob("*.partial"))


def test_key_grid_and_video_are_part_of_the_name(tmp_path: Path, video: str) -> None:
    store = FeatureStore(tmp_path, "fps=1")
    store.save(video, "clip", entry(video))
    assert not store.has(video, "other")
    assert not FeatureStore(tmp_path, "fps=2").has(video, "clip")
    Path(video).write_bytes(b"other frames")
    assert not store.has(video, "clip")


@pytest.mark.parametrize("damage", ["flip", "cut", "pickle", "other key"])
def test_damaged_entries_are_refused_and_made_again(tmp_path: Path, video: str, damage: str) -> None:
    store = FeatureStore(tmp_path, "fps=1")
    store.save(video, "clip", entry(video))
    path = store.path(video, "clip")
    content = bytearray(path.read_bytes())
    if damage == "flip":
        content[-1] ^= 0xFF
    elif damage == "cut":
        content = content[:-10]
    elif damage == "pickle":
        content = bytearray(pickle.dumps({"features": [1, 2]}))
    else:
        content = bytearray(bytes(content).replace(b'"key":"clip"', b'"key":"slip"'))
    path.write_bytes(bytes(content))
    assert not store.has(video, "clip")
    with pytest.raises(KeyError, match="no features"):
        store.load(video, "clip")
    store.save(video, "clip", entry(video))
    assert store.has(video, "clip")


def _write_and_read(root: Path, video: str, seed: int) -> bool:
    store = FeatureStore(root, "fps=1")
    ok = True
    for n in range(20):
        times = torch.arange(5, dtype=torch.float64)
        candidates = Candidates(video, torch.arange(5) * 25, times, 5.0)
        store.save(video, "clip", Entry(candidates, torch.full((5, 2000), float(seed * 100 + n))))
        seen = store.load(video, "clip").features
        ok &= bool((seen == seen[0, 0]).all()) and store.has(video, "clip")
    return ok


def test_many_processes_write_the_same_entry(tmp_path: Path, video: str) -> None:
    context = multiprocessing.get_context("spawn")
    with context.Pool(3) as pool:
        results = pool.starmap(_write_and_read, [(tmp_path / "s", video, seed) for seed in range(3)])
    assert results == [True, True, True]


def test_an_entry_of_somebody_else_is_named_and_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests may run as root, whom no mode keeps out, so the right to read is told to be missing."""
    path = tmp_path / "entry.safetensors"
    seal(path, {"a": torch.ones(3)}, {"made": "here"}, {})
    monkeypatch.setattr(os, "access", lambda place, mode: Path(place) != path)
    with pytest.raises(StorageError, match=r"entry.safetensors may not be read: ask \w+ for `chmod a\+r`"):
        unseal(path, {"made": "here"}, verify=False)
    monkeypatch.undo()
    assert unseal(path, {"made": "here"}, verify=False) is not None
