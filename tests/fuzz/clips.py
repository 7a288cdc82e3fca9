"""Clips of numbered pictures, in every container and codec that PyAV can write here.

A picture carries its number as ten squares, light for 1, so that a frame one place off is seen to be, whatever its size
and however lossy its codec.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

NUM_FRAMES, WIDTH, HEIGHT, FPS = 100, 128, 96, 25
_BITS = 10
BITEXACT = {"fflags": "+bitexact"}
"""Muxers write no random number and no time, so that a clip is the same each time it is written."""


def picture(number: int, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """uint8 (height, width, 3)."""
    pixels = np.full((height, width, 3), 60, np.uint8)
    for bit in range(_BITS):
        pixels[_square(bit, width, height, 0.0)] = 220 if number >> bit & 1 else 30
    return pixels


def number(pixels: np.ndarray) -> int:
    """Which picture it is, by the middle of each square."""
    height, width = pixels.shape[:2]
    squares = [pixels[_square(bit, width, height, 0.25)].mean() for bit in range(_BITS)]
    return sum(1 << bit for bit, light in enumerate(squares) if light > 125)


def _square(bit: int, width: int, height: int, margin: float) -> tuple[slice, slice]:
    row, column = divmod(bit, _BITS // 2)
    return tuple(
        slice(round((place + margin) * size / parts), round((place + 1 - margin) * size / parts))
        for place, size, parts in ((row, height, 2), (column, width, _BITS // 2))
    )  # type: ignore[return-value]


@dataclass(frozen=True)
class Clip:
    """How a clip is written."""

    codec: str
    options: dict[str, str] = field(default_factory=dict)
    pix_fmt: str = "yuv420p"
    size: tuple[int, int] = (WIDTH, HEIGHT)
    num_frames: int = NUM_FRAMES
    fps: int = FPS
    irregular: bool = False
    """Frames last from 1 to 40 ticks of a 25th of a second."""
    quarter_turns: int = 0
    """Written into the header of an MP4."""
    cut_frames: int = 0
    """So many at the start are cut off by an edit list."""
    with_sound: bool = False

    def times(self) -> list[int]:
        """Of each frame in ticks of 1 / fps."""
        if not self.irregular:
            return list(range(self.num_frames))
        steps = np.random.default_rng(0).choice([1, 1, 2, 3, 40], self.num_frames)
        return [0, *np.cumsum(steps)[:-1].tolist()]


_OPEN_GOP = {"x264-params": "open-gop=1:keyint=20:min-keyint=20:bframes=3:scenecut=0"}
_X265 = {"x265-params": "log-level=none:keyint=20"}
_X265_OPEN = {"x265-params": "log-level=none:keyint=20:min-keyint=20:open-gop=1:bframes=4:scenecut=0"}
_MPEG = {"bf": "2", "g": "12"}
_VP9 = {"g": "20", "b": "500k", "deadline": "realtime", "cpu-used": "8", "auto-alt-ref": "1", "lag-in-frames": "16"}
_AV1 = {"preset": "12", "g": "20"}
CLIPS: dict[str, Clip] = {
    "h264.mp4": Clip("libx264"),
    "h264_gop.mp4": Clip("libx264", {"g": "20"}),
    "h264_open.mp4": Clip("libx264", _OPEN_GOP),
    "h264_open.mkv": Clip("libx264", _OPEN_GOP),
    "h264_zerolatency.mp4": Clip("libx264", {"g": "20", "tune": "zerolatency"}),
    "h264.avi": Clip("libx264", {"g": "20"}),
    "h264.ts": Clip("libx264", {"g": "20"}),
    "h264.flv": Clip("libx264", {"g": "20"}),
    "hevc.mp4": Clip("libx265", _X265),
    "hevc.mkv": Clip("libx265", _X265),
    "hevc.ts": Clip("libx265", _X265),
    "mpeg4.avi": Clip("mpeg4", _MPEG),
    "mpeg4.mp4": Clip("mpeg4", _MPEG),
    "mpeg1.mpg": Clip("mpeg1video", _MPEG),
    "mpeg2.mpg": Clip("mpeg2video", _MPEG),
    "mpeg2.ts": Clip("mpeg2video", _MPEG),
    "vp9.webm": Clip("libvpx-vp9", _VP9),
    "av1.mkv": Clip("libsvtav1", _AV1),
    "av1.mp4": Clip("libsvtav1", _AV1),
    "mjpeg.avi": Clip("mjpeg", pix_fmt="yuvj420p"),
    "prores.mov": Clip("prores_ks", pix_fmt="yuv422p10le"),
    "ffv1.mkv": Clip("ffv1"),
    "wmv2.asf": Clip("wmv2"),
}
"""The usual ones."""
RARER: dict[str, Clip] = {
    "h264.mov": Clip("libx264", {"g": "20"}),
    "h264.nut": Clip("libx264", {"g": "20"}),
    "h264.wtv": Clip("libx264", {"g": "20"}),
    "h264.3gp": Clip("libx264", {"g": "20", "bf": "0"}),
    "h264_fragments.mp4": Clip("libx264", {"g": "20"}),
    "h264_odd.mp4": Clip("libx264", {"g": "20"}, "yuv444p", (127, 95)),
    "h264_narrow.mkv": Clip("libx264", {"g": "20"}, size=(30, 96)),
    "h264_irregular.mp4": Clip("libx264", {"g": "20"}, irregular=True),
    "h264_irregular.mkv": Clip("libx264", {"g": "20"}, irregular=True),
    "h264_turned.mp4": Clip("libx264", {"g": "20"}, quarter_turns=1),
    "h264_cut.mp4": Clip("libx264", {"g": "20"}, cut_frames=10),
    "h264_sound.mp4": Clip("libx264", {"g": "20"}, with_sound=True),
    "h264_sound.mkv": Clip("libx264", {"g": "20"}, with_sound=True),
    "h264_interlaced.mp4": Clip("libx264", {"g": "20", "flags": "+ildct+ilme"}),
    "h264_intra_refresh.mp4": Clip("libx264", {"x264-params": "intra-refresh=1:keyint=20"}),
    "hevc_open.mp4": Clip("libx265", _X265_OPEN),
    "hevc_irregular.mp4": Clip("libx265", _X265, irregular=True),
    "mpeg4.3gp": Clip("mpeg4", {"g": "12"}),
    "mpeg4.nut": Clip("mpeg4", _MPEG),
    "mpeg4_turned.mp4": Clip("mpeg4", _MPEG, quarter_turns=2),
    "mpeg1.m1v": Clip("mpeg1video", _MPEG),
    "mpeg2.vob": Clip("mpeg2video", _MPEG),
    "mpeg2.mxf": Clip("mpeg2video", _MPEG),
    "mpeg2.mkv": Clip("mpeg2video", _MPEG),
    "h263.3gp": Clip("h263"),
    "flv1.flv": Clip("flv"),
    "wmv1.wmv": Clip("wmv1"),
    "msmpeg4.avi": Clip("msmpeg4"),
    "vp8.webm": Clip("libvpx", _VP9),
    "vp8.ogv": Clip("libvpx", {"g": "20", "b": "500k", "deadline": "realtime", "cpu-used": "8"}),
    "vp9.mp4": Clip("libvpx-vp9", _VP9),
    "vp9.ivf": Clip("libvpx-vp9", _VP9),
    "av1.webm": Clip("libsvtav1", _AV1),
    "av1.obu": Clip("libsvtav1", _AV1),
    "mjpeg.mov": Clip("mjpeg", pix_fmt="yuvj420p"),
    "mjpeg_odd.mkv": Clip("mjpeg", pix_fmt="yuvj444p", size=(131, 97)),
    "jpeg2000.mov": Clip("jpeg2000", num_frames=30),
    "png.mov": Clip("png", pix_fmt="rgb24"),
    "qtrle.mov": Clip("qtrle", pix_fmt="rgb24"),
    "rawvideo.avi": Clip("rawvideo", pix_fmt="rgb24", num_frames=40),
    "rawvideo_odd.mov": Clip("rawvideo", pix_fmt="rgb24", size=(61, 33)),
    "huffyuv.avi": Clip("huffyuv", pix_fmt="yuv422p"),
    "ffv1_odd.avi": Clip("ffv1", pix_fmt="yuv444p", size=(127, 95)),
    "magicyuv.avi": Clip("magicyuv", num_frames=40),
    "zmbv.avi": Clip("zmbv", pix_fmt="bgr0", num_frames=40),
    "cinepak.avi": Clip("cinepak", pix_fmt="rgb24", num_frames=20),
    "rv20.rm": Clip("rv20"),
    "gif.gif": Clip("gif", pix_fmt="rgb8", num_frames=40),
    "gif_irregular.gif": Clip("gif", pix_fmt="rgb8", num_frames=40, irregular=True),
    "apng.apng": Clip("apng", pix_fmt="rgb24"),
    "snow.nut": Clip("snow", {"strict": "-2"}, num_frames=40),
    "slow.mp4": Clip("libx264", {"g": "5"}, num_frames=30, fps=1),
    "one_frame.mp4": Clip("libx264", num_frames=1),
    "two_frames.mkv": Clip("libx264", num_frames=2),
}
"""Rarer containers, codecs, sizes and clocks."""


def encode(container: av.container.OutputContainer, clip: Clip) -> Iterator[av.Packet]:
    """Packets of the numbered pictures."""
    stream = container.add_stream(clip.codec, rate=clip.fps, options=clip.options)
    stream.width, stream.height = clip.size
    stream.pix_fmt = clip.pix_fmt
    stream.codec_context.thread_count = 1  # with more, some encoders give other bytes each time
    if clip.irregular:
        stream.codec_context.time_base = Fraction(1, clip.fps)
    sound = itertools.chain(_silence(container) if clip.with_sound else ())
    for n, ticks in enumerate(clip.times()):
        upright = picture(n, *(clip.size[::-1] if clip.quarter_turns % 2 else clip.size))
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(np.rot90(upright, clip.quarter_turns)), format="rgb24")
        frame.pts, frame.time_base = ticks, Fraction(1, clip.fps)
        yield from stream.encode(frame)
        yield from itertools.islice(sound, 2)
    yield from stream.encode(None)
    yield from sound


def _silence(container: av.container.OutputContainer) -> Iterator[av.Packet]:
    """Four seconds of it."""
    stream = container.add_stream("aac", rate=16000)
    for n in range(62):
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 16000, 1024 * n, Fraction(1, 16000)
        yield from stream.encode(frame)
    yield from stream.encode(None)


@contextmanager
def scheduled_as_before() -> Iterator[None]:
    """Root's SVT-AV1 encoder makes the thread that calls it a real-time one of the highest priority; every process that
    this thread starts from then on would be one, too, and leave the others no time."""
    policy, priority = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        os.sched_setscheduler(0, policy, priority)


def write(path: Path, clip: Clip) -> Path:
    """The clip at a path whose name's end says the container."""
    options = {"movflags": "frag_keyframe+empty_moov"} if "fragments" in path.name else {}
    with scheduled_as_before(), av.open(str(path), "w", options=options | BITEXACT) as container:
        for packet in encode(container, clip):
            container.mux(packet)
    content = path.read_bytes()
    if clip.quarter_turns:
        content = _turned(content, clip.quarter_turns)
    if clip.cut_frames:
        content = _cut(content, clip)
    path.write_bytes(content)
    return path


def _turned(content: bytes, quarter_turns: int) -> bytes:
    """The MP4 whose first track is shown turned (ISO/IEC 14496-12, 8.3.2: the matrix of the track header)."""
    cosine, sine = {1: (0, 1), 2: (-1, 0), 3: (0, -1)}[quarter_turns]
    matrix = [cosine << 16, sine << 16, 0, -sine << 16, cosine << 16, 0, 0, 0, 1 << 30]
    at = content.index(b"tkhd") + 4 + 40
    return content[:at] + b"".join((n & 0xFFFFFFFF).to_bytes(4, "big") for n in matrix) + content[at + 36 :]


def _cut(content: bytes, clip: Clip) -> bytes:
    """The MP4 whose edit list (ISO/IEC 14496-12, 8.6.6) begins some frames later."""
    scale_at = content.index(b"mdhd") + 4 + 12
    ticks = int.from_bytes(content[scale_at : scale_at + 4], "big") * clip.cut_frames // clip.fps
    at = content.index(b"elst") + 4 + 8 + 4
    start = int.from_bytes(content[at : at + 4], "big") + ticks
    return content[:at] + start.to_bytes(4, "big") + content[at + 4 :]
