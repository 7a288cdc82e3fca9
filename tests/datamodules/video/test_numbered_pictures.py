"""The frame that is asked for is the frame that comes, in every container and codec that can be written here."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from fuzz.clips import CLIPS, FPS, NUM_FRAMES, RARER, Clip, encode, number, write

from datamodules.video.video_info import VideoInfo, candidate_grid, probe, read_frames


@pytest.fixture(scope="module")
def numbered(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Writes a clip of `CLIPS`, once."""
    folder = tmp_path_factory.mktemp("numbered")
    return lambda name: folder / name if (folder / name).exists() else write(folder / name, CLIPS[name])


def in_sequence(path: Path) -> list[np.ndarray]:
    """Every picture, as plain decoding from the start gives them."""
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(container.streams.best("video"))]


def read(info: VideoInfo, frame_ids: list[int]) -> list[np.ndarray]:
    return list(itertools.chain.from_iterable(read_frames(info, np.array(frame_ids))))


@pytest.mark.parametrize("name", CLIPS)
def test_frames_are_those_asked_for(numbered, name: str, caplog: pytest.LogCaptureFixture) -> None:
    path = numbered(name)
    info, rng, truth = probe(str(path)), np.random.default_rng(0), in_sequence(path)
    np.testing.assert_allclose(info.timestamps_s, np.arange(NUM_FRAMES) / FPS, atol=2e-3)
    choices = [candidate_grid(info).tolist(), list(range(NUM_FRAMES)), [NUM_FRAMES - 1]]
    choices += [sorted(rng.choice(NUM_FRAMES, n, replace=False).tolist()) for n in (1, 2, 4, 8, 20, 50)]
    for frame_ids in choices:
        frames = read(info, frame_ids)
        assert [number(f) for f in frames] == frame_ids
        for frame_id, frame in zip(frame_ids, frames, strict=True):
            np.testing.assert_array_equal(frame, truth[frame_id])
    assert not caplog.messages  # none had to be read a second time


@pytest.mark.parametrize("name", ["mpeg1.m1v", "av1.obu"])
def test_pictures_without_stored_times_come_in_the_order_in_which_they_are_shown(tmp_path: Path, name: str) -> None:
    """FFmpeg's guesses of their times are wrong before it knows how pictures are ordered."""
    info = probe(str(write(tmp_path / name, RARER[name])))
    for chosen in (list(range(NUM_FRAMES)), [1, 2, 3], [0, 50, 99]):
        assert [number(f) for f in read(info, chosen)] == chosen
    assert not info.table.can_skip


def test_a_second_packet_of_the_same_time_does_not_shift_what_follows(tmp_path: Path) -> None:
    path = tmp_path / "twice.mkv"
    with av.open(str(path), "w") as container:
        for n, packet in enumerate(encode(container, Clip("libx264", {"bf": "0", "g": "20"}))):
            if n == 30:
                packet.pts, packet.dts = packet.pts - 1, packet.dts - 1
            container.mux(packet)
    info = probe(str(path))
    assert info.num_frames == NUM_FRAMES - 1
    chosen = [10, 29, 30, 60, 98]
    assert [number(f) for f in read(info, chosen)] == [10, 29, 31, 61, 99]


def test_key_frames_are_what_the_pictures_say(tmp_path: Path) -> None:
    """A container that calls every picture a key frame is not believed."""
    path = tmp_path / "all_key.mkv"
    with av.open(str(path), "w") as container:
        for packet in encode(container, Clip("libx264", {"bf": "0", "g": "20", "sc_threshold": "0"})):
            packet.is_keyframe = True
            container.mux(packet)
    info = probe(str(path))
    assert [number(f) for f in read(info, [5, 50, 95])] == [5, 50, 95]
    assert np.flatnonzero(info.table.key).tolist() == [0, 20, 40, 60, 80]
