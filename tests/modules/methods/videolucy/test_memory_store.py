"""Captions on disk: found under all that they depend on, whole whatever happens, never taken from a damaged file."""

from __future__ import annotations

import json
import logging
import multiprocessing
from dataclasses import replace
from pathlib import Path

import pytest

from modules.methods.videolucy.memory_store import CaptionKey, MemoryStore
from modules.records import Cost

KEY = CaptionKey(
    frames_key="0" * 32 + "-384px",
    start_s=60.0,
    end_s=120.0,
    frame_ids=(1500, 1525),
    fps=1.0,
    max_pixels=100352,
    prompt="Describe it.",
    model="captioner-1",
)
COST = Cost(frames_shown=2, visual_tokens=None, text_tokens_in=9, text_tokens_out=4, calls=1, seconds={"caption": 0.5})


def test_a_text_is_found_again_with_its_cost_wherever_the_folder_goes(tmp_path: Path) -> None:
    MemoryStore(tmp_path / "a").put(KEY, "A dog \ud800 \u00e9 barks.", COST)
    (tmp_path / "a").rename(tmp_path / "b")
    assert MemoryStore(tmp_path / "b").get(KEY) == ("A dog \ud800 \u00e9 barks.", COST)
    assert MemoryStore(tmp_path / "a").get(KEY) is None


@pytest.mark.parametrize(
    "change",
    [
        {"frames_key": "1" * 32 + "-384px"},
        {"frames_key": "0" * 32 + "-fullpx"},
        {"start_s": 59.0},
        {"end_s": 121.0},
        {"frame_ids": (1500, 1526)},
        {"source_index": (0, 1)},
        {"fps": 2.0},
        {"max_pixels": None},
        {"prompt": "Describe it!"},
        {"model": "captioner-2"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_nothing_that_depends_on_something_else_is_taken(tmp_path: Path, change: dict) -> None:
    store = MemoryStore(tmp_path)
    store.put(KEY, "A dog.", COST)
    assert store.get(replace(KEY, **change)) is None
    assert store.get(KEY) is not None


@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: whole[: len(whole) // 2],
        lambda whole: b"",
        lambda whole: b"\x80\x04" + whole,
        lambda whole: b"[" * 100_000,
        lambda whole: whole.replace(b"A dog.", b"  "),
        lambda whole: whole.replace(b'"calls": 1', b'"calls": true'),
        lambda whole: whole.replace(b'"calls": 1', b'"calls": -1'),
        lambda whole: whole.replace(b"0.5", b"1e999"),
        lambda whole: whole.replace(b"captioner-1", b"captioner-9"),
        lambda whole: whole.replace(b'"format": 1', b'"format": 0'),
        lambda whole: whole + b" " * 2**21,
    ],
)
def test_a_damaged_file_is_refused_and_written_again(tmp_path: Path, caplog: pytest.LogCaptureFixture, damage) -> None:
    store = MemoryStore(tmp_path)
    store.put(KEY, "A dog.", COST)
    whole = store.path(KEY).read_bytes()
    assert damage(whole) != whole
    store.path(KEY).write_bytes(damage(whole))
    with caplog.at_level(logging.WARNING):
        assert store.get(KEY) is None
    assert "will be written again" in caplog.text
    store.put(KEY, "A dog.", COST)
    assert store.get(KEY) == ("A dog.", COST)


def _write(folder: Path, process: int) -> None:
    store = MemoryStore(folder)
    for n in range(30):
        key = replace(KEY, start_s=float(n % 6))
        store.put(key, f"Text {n % 6} " * 200, COST)
        found = store.get(key)
        assert found is not None, process
        assert found[0] == f"Text {n % 6} " * 200


def test_several_processes_write_and_read_the_same_texts(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_write, args=(tmp_path, n)) for n in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    files = sorted(tmp_path.rglob("*"))
    assert len([f for f in files if f.suffix == ".json"]) == 6
    assert not [f for f in files if f.suffix == ".partial"]
    assert all(json.loads(f.read_text())["format"] == 1 for f in files if f.suffix == ".json")


def test_a_folder_that_may_not_be_written_stops_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    store = MemoryStore(tmp_path / "file" / "below")
    with pytest.raises(NotADirectoryError):  # a mistake of the recipe, and no full disk
        store.put(KEY, "A dog.", COST)
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    store = MemoryStore(locked)
    with caplog.at_level(logging.WARNING):
        store.put(KEY, "A dog.", COST)
        store.put(KEY, "A dog.", COST)
    if store.get(KEY) is None:  # root may write anywhere
        assert caplog.text.count("will not be found again") == 1
