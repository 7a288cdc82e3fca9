"""What a path that is said to be a video may be: any name, no file at all, or another file than before."""

from __future__ import annotations

import os
import shutil
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import torch
from fuzz.clips import Clip, number, write

from datamodules.video.decode_pool import DecodeWorker, ReadRequest
from datamodules.video.decoding_settings import DecodingSettings
from datamodules.video.extraction import extract
from datamodules.video.feature_store import FeatureStore
from datamodules.video.frame_reader import FrameReader
from datamodules.video.probe_store import ProbeStore
from datamodules.video.video_info import BadVideoError, open_frames, probe, read_frames
from datamodules.video.views import views_of
from modules.encoders.base import FrameEncoder
from modules.records import Candidates

DECODING = DecodingSettings(num_workers=1, timeout_s=20.0, pixel_cache_mib=1)
_NAMES = {
    "234 characters": b"a" * 230 + b".mp4",
    "as long as it goes": b"b" * 251 + b".mp4",
    "long in Chinese": ("像" * 80 + ".mp4").encode(),
    "spaces": b" a b .mp4",
    "a leading dash": b"-i.mp4",
    "a new line": b"two\nlines.mp4",
    "not UTF-8": b"\xff\xfe\x80.mp4",
    "a pattern": b"clip%03d.mp4",
    "a hash": b"clip#1?x=2.mp4",
    "an address": b"concat:a|b.mp4",
    "decomposed": unicodedata.normalize("NFD", "Übung é.mp4").encode(),
}


class Mean(FrameEncoder):
    @property
    def key(self) -> str:
        return "mean"

    def encode_frames(self, frames: torch.Tensor) -> torch.Tensor:
        return frames.float().mean((2, 3))


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("files") / "clip.mp4", Clip("libx264", {"g": "20"}, num_frames=50))


def extracted(videos: list[str], store: FeatureStore) -> dict[str, str]:
    """Which are bad, and why."""
    return extract(videos, views_of([(Mean(), None)]), store, ReadRequest("", None, 1.0), DECODING).bad


def test_a_file_may_have_any_name(clip: Path, tmp_path: Path) -> None:
    videos = {kind: os.fsdecode(os.fsencode(tmp_path) + b"/" + name) for kind, name in _NAMES.items()}
    for video in videos.values():
        shutil.copy(clip, video)
    store = FeatureStore(tmp_path / "store", "g")
    assert extracted(list(videos.values()), store) == {}
    reader = FrameReader(ProbeStore(store.root), None, DECODING)
    for kind, video in videos.items():
        assert store.load(video, "mean-file").features.shape == (2, 3), kind
        assert ProbeStore(store.root).load(video) is not None, kind
        both = Candidates(video, torch.tensor([0, 25]), torch.tensor([0.0, 1.0]), 2.0)
        assert number(reader.read(both, torch.tensor([1]))[0].permute(1, 2, 0).numpy()) == 25, kind
    reader.stop()


def test_equal_files_share_an_entry_whatever_their_names(clip: Path, tmp_path: Path) -> None:
    store = FeatureStore(tmp_path / "store", "g")
    videos = [str(shutil.copy(clip, tmp_path / ("x" * 240 + end))) for end in ("1.mp4", "2.mp4")]
    assert extracted(videos[:1], store) == {}
    assert store.path(videos[0], "mean-file") == store.path(videos[1], "mean-file")
    assert store.load(videos[1], "mean-file").candidates.video == videos[1]
    os.utime(videos[1], (0, 0))
    info = ProbeStore(store.root).load(videos[1])
    assert info is not None
    assert number(next(iter(read_frames(info, np.array([7]))))[0]) == 7


def test_what_is_no_file_is_a_bad_video_and_holds_nobody_up(clip: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "loop.mp4").symlink_to(tmp_path / "loop.mp4")
    (tmp_path / "gone.mp4").symlink_to(tmp_path / "nowhere.mp4")
    (tmp_path / "list.m3u8").write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:2,\n{clip}\n#EXT-X-ENDLIST\n")
    reasons = {
        "pipe.mp4": "it is a pipe, not a file",
        "folder.mp4": "it is a folder, not a file",
        "loop.mp4": "Too many levels of symbolic links",
        "gone.mp4": "no such file",
        "list.m3u8": "it is a list of other files (hls), not a video",
        "y" * 300 + ".mp4": "File name too long",
        "null\0byte.mp4": "embedded null byte",
        "/dev/zero": "it is a device, not a file",
    }
    videos = {str(tmp_path / name): reason for name, reason in reasons.items()}
    assert extracted([*videos, str(clip)], FeatureStore(tmp_path / "store", "g")) == videos
    reader = FrameReader(ProbeStore(tmp_path / "store"), None, DECODING)
    found = dict(reader.info_many(videos))
    assert {video: error.reason for video, error in found.items() if isinstance(error, BadVideoError)} == videos
    reader.stop()


def test_an_error_is_one_line_whatever_the_name() -> None:
    assert str(BadVideoError("a\nb\udcff.mp4", "why")) == r"cannot read video a\nb\udcff.mp4: why"


def test_a_file_that_vanishes_is_bad_and_its_features_stay(clip: Path, tmp_path: Path) -> None:
    video, store = str(shutil.copy(clip, tmp_path / "v.mp4")), FeatureStore(tmp_path / "store", "g")
    extracted([video], store)
    info, reader = probe(video), FrameReader(ProbeStore(store.root), None, DECODING)
    os.remove(video)
    with pytest.raises(BadVideoError, match="no such file"):
        open_frames(info, np.array([0]))
    entry = store.load(video, "mean-file")
    (outcome,) = reader.read_many([(entry.candidates, torch.tensor([0]))])
    assert isinstance(outcome, BadVideoError)
    reader.stop()


def test_a_file_that_is_replaced_by_one_of_its_size_is_another(clip: Path, tmp_path: Path) -> None:
    video = shutil.copy(clip, tmp_path / "v.mp4")
    info = probe(str(video))
    stamp = os.stat(video).st_mtime_ns
    video.write_bytes(clip.read_bytes())
    os.utime(video, ns=(stamp, stamp + 1))
    with pytest.raises(BadVideoError, match="written to after it was probed"):
        open_frames(info, np.array([0]))


def test_a_file_that_is_written_to_while_it_is_read_is_bad(clip: Path, tmp_path: Path) -> None:
    video = shutil.copy(clip, tmp_path / "v.mp4")
    info = probe(str(video))
    _, pieces = open_frames(info, np.arange(50))
    os.utime(video, ns=(0, 0))
    with pytest.raises(BadVideoError, match="written to after it was probed"):
        list(pieces)


# ---- memory ----


def large(path: Path, codec: str, width: int, height: int, num_frames: int, pix_fmt: str = "yuv420p") -> str:
    clip = Clip(codec, {"preset": "ultrafast"} if codec == "libx264" else {}, pix_fmt, (width, height), num_frames)
    return str(write(path, clip))


def peak_mib(worker: DecodeWorker) -> int:
    assert worker._process is not None
    status = Path(f"/proc/{worker._process.pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) >> 10


@pytest.mark.slow
def test_large_frames_are_handed_over_one_by_one(tmp_path: Path) -> None:
    """4K without short_side_px: 24 MiB a frame, of which a worker holds a few at a time."""
    video, worker = large(tmp_path / "4k.mp4", "libx264", 3840, 2160, 8), DecodeWorker()
    numbers = []
    for _, _, frames in worker.run(ReadRequest(video, None, 25.0)):
        assert len(frames) <= 1
        numbers += [number(frame) for frame in frames]
    assert numbers == list(range(8))
    assert peak_mib(worker) < 500
    worker.stop()


@pytest.mark.slow
def test_a_picture_bomb_is_refused_by_its_size_and_read_when_shrunk(tmp_path: Path) -> None:
    """3 MiB that become 286 MiB."""
    bomb, worker = large(tmp_path / "bomb.avi", "mjpeg", 10000, 10000, 1, "yuvj420p"), DecodeWorker()
    with pytest.raises(BadVideoError, match=r"10000 x 10000 pixels takes 286 MiB, more than 256; short_side_px"):
        worker.read(ReadRequest(bomb, (0,)))
    _, _, frames = worker.read(ReadRequest(bomb, (0,), short_side_px=224))
    assert [number(frame) for frame in frames] == [0]
    assert peak_mib(worker) < 700
    worker.stop()


def test_frames_that_are_too_many_for_memory_are_refused_before_there_is_room_for_them(clip: Path) -> None:
    worker = DecodeWorker(memory_gib=0.4)
    worker.start()
    worker.memory_gib = 1e-3  # of the answer; the process has its own
    with pytest.raises(BadVideoError, match=r"50 frames of 128 x 96 pixels .*; short_side_px"):
        worker.read(ReadRequest(str(clip), None, 25.0))
    worker.memory_gib = 0.4
    assert len(worker.read(ReadRequest(str(clip), (3,)))[2]) == 1
    worker.stop()
