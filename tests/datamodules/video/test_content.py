"""A video is known by its content: copies share, changes are seen, and an unchanged file is read once."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import shutil
import time
from pathlib import Path

import pytest
import torch

from datamodules.video import sighting as sighting_module
from datamodules.video.content import content_of
from datamodules.video.feature_store import Entry, FeatureStore
from datamodules.video.sighting import Sighting, Standing
from datamodules.video.sightings import Sightings
from datamodules.video.video_file import BadVideoError
from modules.records import Candidates

MIB = 2**20


def write(path: Path, num_bytes: int = 4 * MIB, changed: int | None = None) -> str:
    """A file of numbers, one byte of which may be another; as old as one that nobody is writing to."""
    content = bytearray((n * 7 + n // 251) % 256 for n in range(4096)) * (num_bytes // 4096 + 1)
    del content[num_bytes:]
    if changed is not None:
        content[changed] ^= 0xFF
    path.write_bytes(content)
    return str(path)


def entry(video: str) -> Entry:
    times = torch.arange(3, dtype=torch.float64)
    return Entry(Candidates(video, torch.arange(3), times, 3.0), torch.arange(6.0).reshape(3, 2))


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files whose content was read, in order; every file counts as settled."""
    found: list[str] = []
    monkeypatch.setattr(sighting_module, "content_of", lambda path: (found.append(path), content_of(path))[1])
    monkeypatch.setattr(sighting_module, "_SETTLED_NS", -(10**12))
    return found


@pytest.mark.parametrize("num_bytes", [0, 1, 65536, MIB - 1, MIB])
def test_of_a_file_up_to_a_mebibyte_every_byte_counts(num_bytes: int, tmp_path: Path) -> None:
    first = content_of(write(tmp_path / "a", num_bytes))
    assert first == content_of(write(tmp_path / "b", num_bytes))
    for place in {0, num_bytes // 3, num_bytes // 2, num_bytes - 1} if num_bytes else ():
        assert content_of(write(tmp_path / "b", num_bytes, place)) != first, place
    assert content_of(write(tmp_path / "b", num_bytes + 1)) != first


def test_of_a_larger_file_what_lies_between_the_blocks_is_not_seen(tmp_path: Path) -> None:
    size, block = 4 * MIB, 65536
    first = content_of(write(tmp_path / "a", size))
    starts = [(size - block) * n // 15 for n in range(16)]
    seen = [place for start in starts for place in (start, start + block - 1)]
    assert seen[0] == 0
    assert seen[-1] == size - 1
    for place in seen:
        assert content_of(write(tmp_path / "b", size, place)) != first, place
    assert content_of(write(tmp_path / "b", size, starts[3] + block)) == first  # the documented limit
    assert content_of(write(tmp_path / "b", size + 1)) != first


def test_a_large_file_takes_milliseconds(tmp_path: Path) -> None:
    with (tmp_path / "hour.mp4").open("wb") as file:
        file.truncate(20 * 2**30)
    started = time.perf_counter()
    for _ in range(10):
        content_of(str(tmp_path / "hour.mp4"))
    assert (time.perf_counter() - started) / 10 < 0.05


def test_a_copied_or_moved_folder_has_its_features(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    video, store = write(tmp_path / "data" / "v.mp4"), FeatureStore(tmp_path / "data" / "features", "g")
    store.save(video, "clip", entry(video))
    shutil.copytree(tmp_path / "data", tmp_path / "copy")
    shutil.move(tmp_path / "data", tmp_path / "moved")
    for folder in ("copy", "moved"):
        os.utime(tmp_path / folder / "v.mp4", (1, 1))
        loaded = FeatureStore(tmp_path / folder / "features", "g").load(str(tmp_path / folder / "v.mp4"), "clip")
        assert torch.equal(loaded.features, entry(video).features)
        assert loaded.candidates.video == str(tmp_path / folder / "v.mp4")


def test_equal_files_share_one_entry_and_a_changed_one_has_none(tmp_path: Path) -> None:
    one, two = write(tmp_path / "one.mp4"), write(tmp_path / "two.mp4")
    store = FeatureStore(tmp_path / "s", "g")
    store.save(one, "clip", entry(one))
    store.save(two, "clip", entry(two))
    assert len(list((tmp_path / "s" / "clip").iterdir())) == 1
    write(Path(two), changed=0)
    assert not store.has(two, "clip")
    assert store.has(one, "clip")


def test_a_file_changed_in_place_with_its_size_and_time_kept_is_noticed(tmp_path: Path, reads: list[str]) -> None:
    video, store = write(tmp_path / "v.mp4"), FeatureStore(tmp_path / "s", "g")
    store.save(video, "clip", entry(video))
    before = os.stat(video)
    with open(video, "r+b") as file:
        file.write(b"another beginning")
    os.utime(video, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = os.stat(video)
    assert (after.st_size, after.st_mtime_ns, after.st_ino) == (before.st_size, before.st_mtime_ns, before.st_ino)
    assert not store.has(video, "clip")


def test_an_unchanged_file_is_read_once_also_by_the_next_process(tmp_path: Path, reads: list[str]) -> None:
    video = write(tmp_path / "v.mp4")
    first, second = Sightings(tmp_path / "s"), Sightings(tmp_path / "s")
    assert first.of(video) == first.of(video) == second.of(video) == second.of(video)
    assert reads == [video]
    os.utime(video, (1, 1))
    assert second.of(video).content == first.of(video).content
    assert Sightings(tmp_path / "s").of(video).mtime_ns == 10**9
    assert len(reads) == 3  # the two that did not know of the new time, and nobody after them


def test_a_file_as_young_as_the_clock_is_coarse_is_read_again(tmp_path: Path) -> None:
    video, seen = write(tmp_path / "v.mp4"), Sightings(tmp_path / "s")
    status = os.stat(video)
    sighting = seen.of(video)
    assert not sighting.matches(status)
    assert dataclasses.replace(sighting, read_ns=status.st_ctime_ns + 3 * 10**9).matches(status)


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"path": 1}', b"null", b"\xff"])
def test_damaged_notes_are_written_anew(damage: bytes, tmp_path: Path, reads: list[str]) -> None:
    video = write(tmp_path / "v.mp4")
    known = Sightings(tmp_path / "s").of(video)
    (note,) = (tmp_path / "s" / "known_videos").glob("*.json")
    whole = Sighting.from_json(note.read_text())
    note.write_bytes(damage)
    assert Sightings(tmp_path / "s").of(video).content == known.content == whole.content
    assert Sighting.from_json(note.read_text()).content == known.content
    assert len(reads) == 2


def test_a_video_that_vanishes_stays_what_it_was_and_an_unknown_one_is_bad(tmp_path: Path) -> None:
    video, seen = write(tmp_path / "v.mp4"), Sightings(tmp_path / "s")
    known = seen.of(video)
    os.remove(video)
    assert seen.of(video).content == known.content
    with pytest.raises(BadVideoError, match="no such file"):
        Sightings(tmp_path / "s").of(video)


def test_an_entry_of_an_earlier_version_is_used_on(tmp_path: Path) -> None:
    video, store = write(tmp_path / "v.mp4"), FeatureStore(tmp_path / "s", "g")
    store.save(video, "clip", entry(video))
    present = store.path(video, "clip")
    known = f"{video}|{os.stat(video).st_size}|{os.stat(video).st_mtime_ns}|g"  # as versions before named them
    earlier = present.with_name(f"v-{hashlib.sha256(known.encode()).hexdigest()[:20]}.safetensors")
    present.rename(earlier)
    assert store.has(video, "clip")
    assert present.samefile(earlier)
    os.utime(video, (1, 1))
    assert store.has(video, "clip")


# ---- what has become of a video ----


def test_standings(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    video = folder / "v.mp4"
    seen = Sightings(tmp_path / "s").of(write(video))
    assert seen.standing() is Standing.HERE
    os.utime(video, (1, 1))
    assert seen.standing() is Standing.HERE
    write(video, changed=0)
    assert seen.standing() is Standing.GONE
    video.unlink()
    assert seen.standing() is Standing.GONE
    shutil.rmtree(tmp_path / "a")
    assert seen.standing() is Standing.GONE
    assert dataclasses.replace(seen, host="another").standing() is Standing.UNKNOWN
    assert dataclasses.replace(seen, device=seen.device + 1).standing() is Standing.UNKNOWN
    folder.mkdir(parents=True)
    video.symlink_to(tmp_path / "not mounted" / "v.mp4")
    assert seen.standing() is Standing.UNKNOWN
