"""Frames at answer time: what is asked for goes first, what is prefetched is used, memory has a limit, sizes agree."""

from __future__ import annotations

from concurrent.futures import Future
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch

from datamodules.video import frame_reader
from datamodules.video.decode_pool import ReadRequest
from datamodules.video.decoding_settings import DecodingSettings
from datamodules.video.frame_reader import FrameReader
from datamodules.video.pixel_cache import PixelCache
from datamodules.video.probe_store import ProbeStore
from datamodules.video.video_info import BadVideoError, probe
from modules.records import Candidates


def write(path: Path, num_frames: int, width: int, height: int, grey: int) -> str:
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", 10, options={"g": "10", "crf": "1"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for n in range(num_frames):
            pixels = np.full((height, width, 3), grey + n, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return str(path)


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("reader")
    return {
        "wide": write(folder / "wide.mp4", 20, 96, 48, 20),
        "tall": write(folder / "tall.mp4", 20, 32, 64, 120),
        "small": write(folder / "small.mp4", 20, 32, 32, 180),
    }


def grid(video: str) -> Candidates:
    return Candidates(video, torch.arange(0, 20, 2), torch.arange(10) / 5, 2.0)


def needle(own: str, *videos: str) -> Candidates:
    """Five frames of each file, in that order."""
    index = torch.arange(len(videos)).repeat_interleave(5)
    ids = torch.arange(0, 10, 2).repeat(len(videos))
    return Candidates(own, ids, torch.arange(len(ids)) / 5, 9.0, sources=videos, source_index=index)


class Pool:
    """Requests that are answered when the test says so; frames as large as the file's, all of one grey."""

    def __init__(self) -> None:
        self.open: list[tuple[ReadRequest, Future[Any]]] = []
        self.log: list[tuple[str, tuple[int, ...] | None]] = []

    def __call__(self, num_workers: int, timeout_s: float) -> Pool:
        return self

    def submit(self, request: ReadRequest) -> Future[Any]:
        future: Future[Any] = Future()
        self.open.append((request, future))
        self.log.append((Path(request.path).stem, request.frame_ids))
        return future

    def answer(self, name: str) -> None:
        (found,) = [one for one in self.open if Path(one[0].path).stem == name]
        self.open.remove(found)
        request, future = found
        info = request.info or probe(request.path)
        ids = np.array(request.frame_ids)
        future.set_result((info, ids, np.full((len(ids), info.height, info.width, 3), 7, np.uint8)))

    def stop(self) -> None:
        pass


@pytest.fixture
def pool(monkeypatch) -> Pool:
    pool = Pool()
    monkeypatch.setattr(frame_reader, "DecodePool", pool)
    return pool


def reader(tmp_path: Path, files: dict[str, str], *, num_workers: int = 1, mib: int = 64) -> FrameReader:
    probes = ProbeStore(tmp_path)
    for path in files.values():
        probes.save(probe(path))
    return FrameReader(probes, None, DecodingSettings(num_workers=num_workers, timeout_s=30.0, pixel_cache_mib=mib))


def test_frames_are_those_that_were_asked_for_and_come_from_the_cache_the_second_time(files, tmp_path: Path) -> None:
    source = reader(tmp_path, files)
    for _ in range(2):
        frames = source.read(grid(files["wide"]), torch.tensor([1, 4, 9]))
        assert frames.shape == (3, 3, 48, 96)
        means = frames.float().mean((1, 2, 3))
        torch.testing.assert_close(means, torch.tensor([22.0, 28.0, 38.0]), atol=1.5, rtol=0)
    assert (source.cache.num_hits, source.cache.num_misses) == (3, 3)
    source.stop()


@pytest.mark.parametrize("order", [("wide", "tall", "small"), ("small", "wide", "tall")])
@pytest.mark.parametrize("own_is_chosen", [True, False])
def test_a_needles_frames_have_the_size_of_the_targets_video(
    files, tmp_path: Path, order: tuple[str, ...], own_is_chosen: bool
) -> None:
    candidates = needle(files["tall"], *(files[name] for name in order))
    chosen = torch.arange(15)
    if not own_is_chosen:
        chosen = chosen[candidates.source_index != order.index("tall")]
    source = reader(tmp_path, files, num_workers=2)
    frames = source.read(candidates, chosen)
    source.stop()
    assert frames.shape == (len(chosen), 3, 64, 32)
    greys = {"wide": 20, "tall": 120, "small": 180}
    expected = [
        greys[order[s]] + int(candidates.frame_ids[i])
        for i, s in zip(chosen, candidates.source_index[chosen], strict=True)
    ]
    torch.testing.assert_close(frames.float().mean((1, 2, 3)), torch.tensor(expected).float(), atol=1.5, rtol=0)


def test_all_files_of_a_question_are_asked_for_before_any_is_waited_for(files, tmp_path: Path, pool: Pool) -> None:
    source = reader(tmp_path, files)
    started = source._start(needle(files["tall"], *files.values()), torch.arange(15))
    assert [name for name, _ in pool.log] == ["wide", "tall", "small"]
    assert len(started) == 3


def test_what_is_asked_for_goes_before_what_is_prefetched(files, tmp_path: Path, pool: Pool) -> None:
    source = reader(tmp_path, files)
    source.prefetch([grid(files["wide"]), grid(files["tall"]), grid(files["small"])])
    assert [name for name, _ in pool.log] == ["wide"]  # one worker, so one at a time
    source._start(grid(files["tall"]), torch.tensor([3]))
    assert pool.log[-1] == ("tall", (6,))  # exactly, and its prefetch is dropped
    pool.answer("wide")
    pool.answer("tall")
    assert pool.log[-1] == ("small", tuple(range(0, 20, 2)))
    pool.answer("small")
    assert source.read(grid(files["small"]), torch.arange(10)).shape[0] == 10
    assert source.read(grid(files["wide"]), torch.arange(10)).shape[0] == 10
    assert not pool.open  # all of it came from the cache
    assert source._prefetch_bytes == source._num_running == 0


def test_a_running_prefetch_is_waited_for_and_not_repeated(files, tmp_path: Path, pool: Pool) -> None:
    source = reader(tmp_path, files)
    source.prefetch([grid(files["wide"])])
    (reading,) = source._start(grid(files["wide"]), torch.tensor([2, 5]))
    assert len(pool.log) == 1
    pool.answer("wide")
    assert reading.frames().shape == (2, 3, 48, 96)


def test_no_more_is_prefetched_than_half_of_the_cache_takes(files, tmp_path: Path, pool: Pool) -> None:
    source = reader(tmp_path, files, num_workers=3, mib=1)
    source.cache.limit_bytes = 2 * 10 * 48 * 96 * 3 + 2  # twice the ten frames of one wide file
    source.prefetch([grid(files["wide"]), grid(files["tall"])])
    assert [name for name, _ in pool.log] == ["wide"]
    source = reader(tmp_path, files, num_workers=3, mib=0)
    source.prefetch([grid(files["wide"])])
    assert len(pool.log) == 1


def test_a_bad_file_is_told_and_the_others_come(files, tmp_path: Path) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(Path(files["wide"]).read_bytes()[:600])
    source = reader(tmp_path / "s", files, num_workers=2)
    asked = [(grid(str(broken)), torch.tensor([0])), (grid(files["wide"]), torch.tensor([0]))]
    bad, good = source.read_many(asked)
    assert isinstance(bad, BadVideoError)
    assert isinstance(good, torch.Tensor)
    source.stop()


def test_the_cache_never_holds_more_than_its_limit() -> None:
    cache, frames = PixelCache(1), torch.zeros(100, 64, 64, 3, dtype=torch.uint8)
    for n in range(4):
        cache.put("v", range(100 * n, 100 * n + 100), frames)
        assert cache.num_bytes <= 2**20
    most = 2**20 // frames[0].nbytes
    assert len(cache.get("v", range(400))) == most
    assert not cache.get("v", range(300))
    kept = cache.get("v", [399])[399]
    assert kept.untyped_storage().nbytes() == kept.nbytes  # giving up a frame frees it


def test_probes_are_stored_and_another_file_misses(files, tmp_path: Path) -> None:
    info = probe(files["wide"])
    ProbeStore(tmp_path).save(info)
    again = ProbeStore(tmp_path).load(files["wide"])
    assert again is not None
    assert (again.width, again.height, again.path, again.table.codec) == (96, 48, files["wide"], info.table.codec)
    for name in ("pts", "seconds", "key", "decodes_from"):
        assert np.array_equal(getattr(again.table, name), getattr(info.table, name))
    assert ProbeStore(tmp_path).load(files["tall"]) is None
    (stored,) = (tmp_path / "probes").iterdir()
    stored.write_bytes(stored.read_bytes()[:-3])
    assert ProbeStore(tmp_path).load(files["wide"]) is None


def test_frames_are_named_by_what_the_files_hold_and_by_their_size(files, tmp_path: Path) -> None:
    def key(candidates: Candidates, short_side_px: int | None = None) -> str:
        decoding = DecodingSettings(num_workers=1, timeout_s=10.0, pixel_cache_mib=0)
        return FrameReader(ProbeStore(tmp_path / "features"), short_side_px, decoding).key(candidates)

    copy = tmp_path / "elsewhere.mp4"
    copy.write_bytes(Path(files["wide"]).read_bytes())
    assert key(grid(files["wide"])) == key(grid(str(copy)))
    assert key(grid(files["wide"])) != key(grid(files["tall"]))
    assert key(grid(files["wide"])) != key(grid(files["wide"]), 32)
    both = needle(files["wide"], files["wide"], files["tall"])
    assert key(both) not in (key(grid(files["wide"])), key(needle(files["wide"], files["tall"], files["wide"])))
    with pytest.raises(BadVideoError):
        key(grid(str(tmp_path / "nowhere.mp4")))
