"""The frame that is asked for is the frame that comes, in every container and codec that can be written here.

Each picture carries its number as ten squares, light for 1, so that a frame one place off is seen to be.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from datamodules.video import BadVideoError, VideoInfo, candidate_grid, probe, read_frames

NUM_FRAMES, WIDTH, HEIGHT, FPS = 100, 128, 96, 25
_OPEN_GOP = {"x264-params": "open-gop=1:keyint=20:min-keyint=20:bframes=3:scenecut=0"}
_X265 = {"x265-params": "log-level=none:keyint=20"}
_MPEG = {"bf": "2", "g": "12"}
_VP9 = {"g": "20", "b": "500k", "deadline": "realtime", "cpu-used": "8", "auto-alt-ref": "1", "lag-in-frames": "16"}
FILES: dict[str, tuple[str, dict[str, str]]] = {
    "h264.mp4": ("libx264", {}),
    "h264_gop.mp4": ("libx264", {"g": "20"}),
    "h264_open.mp4": ("libx264", _OPEN_GOP),
    "h264_open.mkv": ("libx264", _OPEN_GOP),
    "h264_zerolatency.mp4": ("libx264", {"g": "20", "tune": "zerolatency"}),
    "h264.avi": ("libx264", {"g": "20"}),
    "h264.ts": ("libx264", {"g": "20"}),
    "h264.flv": ("libx264", {"g": "20"}),
    "hevc.mp4": ("libx265", _X265),
    "hevc.mkv": ("libx265", _X265),
    "hevc.ts": ("libx265", _X265),
    "mpeg4.avi": ("mpeg4", _MPEG),
    "mpeg4.mp4": ("mpeg4", _MPEG),
    "mpeg1.mpg": ("mpeg1video", _MPEG),
    "mpeg2.mpg": ("mpeg2video", _MPEG),
    "mpeg2.ts": ("mpeg2video", _MPEG),
    "vp9.webm": ("libvpx-vp9", _VP9),
    "av1.mkv": ("libsvtav1", {"preset": "12", "g": "20"}),
    "av1.mp4": ("libsvtav1", {"preset": "12", "g": "20"}),
    "mjpeg.avi": ("mjpeg", {}),
    "prores.mov": ("prores_ks", {}),
    "ffv1.mkv": ("ffv1", {}),
    "wmv2.asf": ("wmv2", {}),
}


def picture(number: int) -> np.ndarray:
    """uint8 (96, 128, 3)."""
    pixels = np.full((HEIGHT, WIDTH, 3), 60, np.uint8)
    for bit in range(10):
        row, column = divmod(bit, 5)
        pixels[row * 48 : row * 48 + 48, column * 24 : column * 24 + 24] = 220 if number >> bit & 1 else 30
    return pixels


def number(pixels: np.ndarray) -> int:
    """Which picture it is."""
    squares = [pixels[r * 48 + 12 : r * 48 + 36, c * 24 + 6 : c * 24 + 18].mean() for r in range(2) for c in range(5)]
    return sum(1 << bit for bit, light in enumerate(squares) if light > 125)


def encode(container: av.container.OutputContainer, codec: str, options: dict[str, str]) -> Iterator[av.Packet]:
    """Packets of the numbered pictures at 25 a second."""
    stream = container.add_stream(codec, rate=FPS, options=options)
    stream.width, stream.height = WIDTH, HEIGHT
    stream.pix_fmt = {"mjpeg": "yuvj420p", "prores_ks": "yuv422p10le"}.get(codec, "yuv420p")
    for n in range(NUM_FRAMES):
        frame = av.VideoFrame.from_ndarray(picture(n), format="rgb24")
        frame.pts, frame.time_base = n, Fraction(1, FPS)
        yield from stream.encode(frame)
    yield from stream.encode(None)


@pytest.fixture(scope="module")
def numbered(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Writes a file of `FILES`, once."""
    folder = tmp_path_factory.mktemp("numbered")

    def write(name: str) -> Path:
        if not (folder / name).exists():
            with av.open(str(folder / name), "w") as container:
                for packet in encode(container, *FILES[name]):
                    container.mux(packet)
        return folder / name

    return write


def in_sequence(path: Path) -> list[np.ndarray]:
    """Every picture, as plain decoding from the start gives them."""
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(container.streams.best("video"))]


def read(info: VideoInfo, frame_ids: list[int]) -> list[np.ndarray]:
    return list(itertools.chain.from_iterable(read_frames(info, np.array(frame_ids))))


@pytest.mark.parametrize("name", FILES)
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


def test_a_second_packet_of_the_same_time_does_not_shift_what_follows(tmp_path: Path) -> None:
    path = tmp_path / "twice.mkv"
    with av.open(str(path), "w") as container:
        for n, packet in enumerate(encode(container, "libx264", {"bf": "0", "g": "20"})):
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
        for packet in encode(container, "libx264", {"bf": "0", "g": "20", "sc_threshold": "0"}):
            packet.is_keyframe = True
            container.mux(packet)
    info = probe(str(path))
    assert [number(f) for f in read(info, [5, 50, 95])] == [5, 50, 95]
    assert np.flatnonzero(info.table.key).tolist() == [0, 20, 40, 60, 80]


def _damaged(content: bytes, rng: np.random.Generator) -> bytes:
    """One of: bytes changed, a piece overwritten, cut out, written twice, or the end cut off."""
    data, size = bytearray(content), len(content)
    at, length = int(rng.integers(size // 10, size)), int(rng.integers(1, max(2, size // 40)))
    match rng.integers(5):
        case 0:
            for place in rng.integers(size // 20, size, 8):
                data[place] ^= int(rng.integers(1, 256))
        case 1:
            data[at : at + length] = rng.bytes(len(data[at : at + length]))
        case 2:
            del data[at : at + length]
        case 3:
            data[at:at] = data[at : at + length]
        case _:
            del data[at:]
    return bytes(data)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["h264_open.mp4", "h264.ts", "hevc.mkv", "mpeg2.mpg", "mpeg4.avi", "vp9.webm"])
def test_a_damaged_file_is_refused_or_gives_what_it_shows_in_sequence(numbered, tmp_path: Path, name: str) -> None:
    content, path = numbered(name).read_bytes(), tmp_path / name
    num_read = 0
    for seed in range(12):
        rng = np.random.default_rng(seed)
        path.write_bytes(_damaged(content, rng))
        try:
            info = probe(str(path))
            frame_ids = np.sort(rng.choice(info.num_frames, min(6, info.num_frames), replace=False)).tolist()
            frames = read(info, frame_ids)
        except BadVideoError:
            continue
        num_read += 1
        shown = shown_in_sequence(path, info)
        for frame_id, frame in zip(frame_ids, frames, strict=True):
            np.testing.assert_array_equal(frame, shown[frame_id], f"seed {seed}, frame {frame_id}")
    assert num_read


def shown_in_sequence(path: Path, info: VideoInfo) -> dict[int, np.ndarray]:
    """Frames by id, going on behind packets that cannot be decoded."""
    frame_of, shown = {int(p): n for n, p in enumerate(info.table.pts)}, {}
    with av.open(str(path), metadata_errors="replace") as container:
        stream = container.streams[info.stream_index]
        stream.codec_context.thread_count = 1  # what stands in for a damaged part depends on it
        for packet in container.demux(stream):
            with contextlib.suppress(av.error.FFmpegError):
                for frame in packet.decode():
                    if frame.pts in frame_of:
                        shown.setdefault(frame_of[frame.pts], frame.to_ndarray(format="rgb24"))
    return shown
