"""Decoding: real awkward clips, written clips, lying and broken files (the failure table's rows about video)."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from datamodules.video.video_info import BadVideoError, candidate_grid, grid_of, probe, read_frames


def write(path: Path, times_ms: list[int], size: int = 64) -> Path:
    """Frame n is a grey of value 20 + 5 (n mod 40), shown from times_ms[n] on."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "1"})
        stream.width = stream.height = size
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for n, t in enumerate(times_ms):
            frame = av.VideoFrame.from_ndarray(np.full((size, size, 3), 20 + 5 * (n % 40), np.uint8), format="rgb24")
            frame.pts, frame.time_base = t, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def grey(frames: np.ndarray) -> list[int]:
    """Which frame each picture is, by its grey."""
    return [round((float(f.mean()) - 20) / 5) for f in frames]


def read(path: Path, frame_ids: list[int], **kwargs: int) -> np.ndarray:
    return np.concatenate(list(read_frames(probe(str(path)), np.array(frame_ids), **kwargs)))


def test_grid_is_exact_for_variable_frame_rates(tmp_path: Path) -> None:
    path = write(tmp_path / "vfr.mp4", [0, 100, 200, 900, 2050, 2100, 2150, 5000, 5500])
    info = probe(str(path))
    assert info.num_frames == 9
    np.testing.assert_allclose(info.timestamps_s, [0, 0.1, 0.2, 0.9, 2.05, 2.1, 2.15, 5.0, 5.5], atol=1e-3)
    grid = candidate_grid(info, fps=1.0)
    # on display at 0, 1, 2, 3, 4, 5, 6 s; a frame that is on for several seconds is one candidate
    assert grid.tolist() == [0, 3, 6, 7, 8]
    assert grey(read(path, grid.tolist())) == [0, 3, 6, 7, 8]


def test_grid_can_be_capped_and_finer_than_the_video() -> None:
    times = np.arange(100) / 10
    assert grid_of(times, 10.0, 1.0, None).tolist() == list(range(0, 100, 10))
    assert len(grid_of(times, 10.0, 1.0, 4)) == 4
    assert grid_of(times, 10.0, 50.0, None).tolist() == list(range(100))
    assert grid_of(np.zeros(1), 0.0, 1.0, None).tolist() == [0]


def test_grid_is_what_is_on_display_at_each_of_its_times() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        t = np.unique(np.round(np.cumsum(rng.exponential(rng.choice([0.04, 0.5, 3]), rng.integers(1, 60))), 3))
        t, fps = t - t[0], float(rng.choice([0.3, 1, 2, 29.97, 30]))
        duration_s = float(t[-1] + 0.2 * rng.random())
        times = np.arange(max(1, int(np.ceil(duration_s * fps - 1e-9)))) / fps
        on_display = [max(n for n in range(len(t)) if t[n] <= at + 1e-6) for at in times]
        assert grid_of(t, duration_s, fps, None).tolist() == sorted(set(on_display))


def test_a_clock_that_jumps_by_years_gives_no_more_candidates_than_frames() -> None:
    times = np.array([0.0, 0.5, 1.0, 3e13])
    assert grid_of(times, 4e13, 1.0, None).tolist() == [0, 2, 3]
    assert grid_of(times, 4e13, 1.0, 3).tolist() == [0, 2, 3]


def test_frames_shrink_while_converting(tmp_path: Path) -> None:
    assert read(write(tmp_path / "a.mp4", [0, 40]), [0, 1], short_side_px=32).shape == (2, 32, 32, 3)


@pytest.mark.parametrize(
    ("name", "frames", "stream", "size"),
    [
        ("nasa_13013.mp4", 390, 3, (270, 480)),
        ("av1_video.mkv", 125, 0, (360, 640)),
        ("h265_video.mp4", 10, 0, (128, 128)),
        ("h264_10bits.mp4", 30, 0, (200, 200)),
        ("video_90.mov", 3, 0, (568, 320)),
    ],
)
def test_real_clips(real_clips: Path, name: str, frames: int, stream: int, size: tuple[int, int]) -> None:
    info = probe(str(real_clips / name))
    assert (info.num_frames, info.stream_index) == (frames, stream)
    last = np.concatenate(list(read_frames(info, np.array([0, frames - 1]))))
    assert last.shape == (2, *size, 3)
    assert info.header_num_frames in (0, frames)
    with av.open(str(real_clips / name)) as container:
        video = container.streams[stream]
        turns = info.rotation_deg // 90
        truth = [np.rot90(f.to_ndarray(format="rgb24"), turns) for f in container.decode(video)]
    rng = np.random.default_rng(0)
    for count in (1, min(8, frames), frames):
        chosen = np.sort(rng.choice(frames, count, replace=False))
        ours = np.concatenate(list(read_frames(info, chosen)))
        assert all(np.array_equal(a, truth[n]) for a, n in zip(ours, chosen, strict=True))


def test_rotated_clip_stands_upright_as_decord_shows_it(real_clips: Path) -> None:
    decord = pytest.importorskip("decord")
    path = str(real_clips / "video_90.mov")
    theirs = decord.VideoReader(path)[0].asnumpy()
    ours = next(read_frames(probe(path), np.array([0])))[0]
    assert np.abs(ours.astype(int) - theirs.astype(int)).mean() < 2


# ---- bad input ----


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(BadVideoError, match="no such file"):
        probe(str(tmp_path / "none.mp4"))


@pytest.mark.parametrize("content", [b"", b"not a video at all" * 50])
def test_no_video(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.mp4"
    path.write_bytes(content)
    with pytest.raises(BadVideoError, match=r"cannot read video .*bad.mp4"):
        probe(str(path))


def test_no_video_stream(tmp_path: Path) -> None:
    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(BadVideoError, match="no video stream"):
        probe(str(path))


def test_no_frames(tmp_path: Path) -> None:
    path = tmp_path / "empty.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        container.start_encoding()
    with pytest.raises(BadVideoError):
        probe(str(path))


def test_truncated_file_yields_what_is_there_or_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "whole.mkv", [40 * n for n in range(200)])
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    info = probe(str(cut))
    assert 10 < info.num_frames < 200
    frames = np.concatenate(list(read_frames(info, np.arange(0, info.num_frames - 5, 5))))
    assert grey(frames[:10]) == [n % 40 for n in range(0, 50, 5)]


def test_mp4_without_its_index_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "whole.mp4", [40 * n for n in range(50)])
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(BadVideoError):
        probe(str(cut))
