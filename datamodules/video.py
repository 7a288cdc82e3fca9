"""Reading frames out of video files: probe with PyAV, decode with decord, and with PyAV what decord cannot.

Facts this file is built on: decord's ``get_batch`` hangs, holding the GIL, when a header promises more frames than the
file holds; decord cannot open AV1 in Matroska; it picks FFmpeg's "best" stream and turns frames upright. So every file
is probed first by reading its packets, the stream is the one FFmpeg calls best (and the probe says which), decord reads
only where its count equals the probe's, and all decoding happens in worker processes that can be given up on.

Imports neither torch nor lightning, so that a worker starts fast.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

_HAS_DECORD = platform.machine() in ("x86_64", "AMD64")  # no wheels elsewhere
_FRAMES_PER_MESSAGE = 64


class BadVideoError(ValueError):
    """A file that cannot be read as a video; carries the path and the reason."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"cannot read video {path}: {reason}")
        self.path, self.reason = path, reason

    def __reduce__(self) -> tuple:
        return (BadVideoError, (self.path, self.reason))


@dataclass(frozen=True)
class VideoInfo:
    """What a file really holds, by its packets rather than its header."""

    path: str
    stream_index: int
    """The stream FFmpeg calls best."""
    timestamps_s: np.ndarray
    """float64 (N,), presentation time of every frame from the first, increasing."""
    width: int
    height: int
    rotation_deg: int
    """Counter-clockwise turn that shows the picture upright."""
    header_num_frames: int
    """What the header claims; 0 where it says nothing."""
    decoder: str = ""
    """Which library decoded it, once one has."""

    @property
    def num_frames(self) -> int:
        return len(self.timestamps_s)

    @property
    def duration_s(self) -> float:
        """To the end of the last frame, taken to last as long as the frames before it do on average."""
        t = self.timestamps_s
        return float(t[-1] + (t[-1] / (len(t) - 1) if len(t) > 1 else 0.0))

    @property
    def fps(self) -> float:
        """Average rate."""
        return self.num_frames / self.duration_s if self.duration_s > 0 else 0.0


def probe(path: str) -> VideoInfo:
    """Reads all packets of the best video stream and decodes one frame.

    Raises:
        BadVideoError: missing, no video stream, no frames, not decodable.
    """
    if not Path(path).is_file():
        raise BadVideoError(path, "no such file")
    try:
        with av.open(path) as container:
            stream = container.streams.best("video")
            if stream is None:
                raise BadVideoError(path, "it has no video stream")
            pts = _packet_times(container, stream)
            header, index = stream.frames, stream.index
        if not pts:
            raise BadVideoError(path, "it has no frames")
        with av.open(path) as container:
            frame = next(container.decode(container.streams[index]), None)
            if frame is None:
                raise BadVideoError(path, "no frame of it can be decoded")
            rotation, width, height = frame.rotation, frame.width, frame.height
    except (av.error.FFmpegError, OSError) as error:
        raise BadVideoError(path, f"{error.strerror or error}") from error
    times = np.unique(np.array(pts, dtype=np.float64))
    if rotation % 180:
        width, height = height, width
    return VideoInfo(path, index, times - times[0], width, height, rotation % 360, header)


def _packet_times(container: av.container.InputContainer, stream: av.stream.Stream) -> list[float]:
    """Presentation times (s) of the packets that can be read; a cut-off tail ends the list."""
    times: list[float] = []
    try:
        for packet in container.demux(stream):
            if packet.pts is not None and not packet.is_discard:
                times.append(float(packet.pts * packet.time_base))
    except av.error.FFmpegError:
        pass  # truncated: what came before is there
    return times


def candidate_grid(info: VideoInfo, fps: float = 1.0, max_candidates: int | None = None) -> np.ndarray:
    """Frame ids on display at times 0, 1/fps, 2/fps, ... until the end; exact for variable frame rates.

    # official code: stride round(avg_fps), which drifts (29.97 -> 30) and fails below 0.5 fps; here: by time

    Args:
        info: the probed file.
        fps: candidates per second.
        max_candidates: if the grid is longer, this many evenly spaced times instead.

    Returns:
        int64 (T,), strictly increasing. Fewer than ``duration * fps`` where the video has fewer frames than that.
    """
    return grid_of(info.timestamps_s, info.duration_s, fps, max_candidates)


def grid_of(timestamps_s: np.ndarray, duration_s: float, fps: float, max_candidates: int | None) -> np.ndarray:
    """`candidate_grid` of a video of which only the times of its frames are known."""
    times = np.arange(max(1, int(np.ceil(duration_s * fps - 1e-9)))) / fps
    if max_candidates is not None and len(times) > max_candidates:
        times = np.linspace(0.0, times[-1], max_candidates)
    return np.unique(np.searchsorted(timestamps_s, times + 1e-6, side="right") - 1)


def read_frames(info: VideoInfo, frame_ids: np.ndarray, short_side_px: int | None = None) -> Iterator[np.ndarray]:
    """Decodes chosen frames once, in one forward pass over the file.

    Args:
        info: the probed file.
        frame_ids: increasing positions among its frames.
        short_side_px: shrink while converting so that the short side has this length; None keeps the size.

    Yields:
        uint8 (n, H, W, 3) pieces, upright, in order.

    Raises:
        BadVideoError: some frame cannot be decoded.
    """
    return open_frames(info, frame_ids, short_side_px)[1]


def open_frames(
    info: VideoInfo, frame_ids: np.ndarray, short_side_px: int | None = None
) -> tuple[str, Iterator[np.ndarray]]:
    """As `read_frames`, and the name of the decoder that serves this file."""
    width, height = info.width, info.height
    if short_side_px is not None and min(width, height) > short_side_px:
        ratio = short_side_px / min(width, height)
        width, height = round(width * ratio), round(height * ratio)
    reader = _open_decord(info, width, height)
    if reader is None:
        return "pyav", _read_pyav(info, frame_ids, width, height)
    parts = range(0, len(frame_ids), _FRAMES_PER_MESSAGE)
    return "decord", (reader.get_batch(list(frame_ids[n : n + _FRAMES_PER_MESSAGE])).asnumpy() for n in parts)


def _open_decord(info: VideoInfo, width: int, height: int):
    """A decord reader where it agrees with the probe, else None; rotated files go to PyAV (decord resizes first)."""
    if not _HAS_DECORD or info.rotation_deg or info.header_num_frames not in (0, info.num_frames):
        return None
    import decord

    decord.logging.set_level(decord.logging.QUIET)
    try:
        reader = decord.VideoReader(info.path, num_threads=1, width=width, height=height)
    except (decord.DECORDError, RuntimeError):
        return None
    return reader if len(reader) == info.num_frames else None


def _read_pyav(info: VideoInfo, frame_ids: np.ndarray, width: int, height: int) -> Iterator[np.ndarray]:
    wanted = {int(i) for i in frame_ids}
    turns = info.rotation_deg // 90
    if turns % 2:
        width, height = height, width
    pending: list[np.ndarray] = []
    found = 0
    try:
        with av.open(info.path) as container:
            stream = container.streams.video[_video_position(container, info.stream_index)]
            stream.thread_type = "SLICE"
            for frame_id, frame in enumerate(container.decode(stream)):
                if frame_id in wanted:
                    pixels = frame.to_ndarray(width=width, height=height, format="rgb24")
                    pending.append(np.ascontiguousarray(np.rot90(pixels, turns)))
                    found += 1
                if len(pending) == _FRAMES_PER_MESSAGE:
                    yield np.stack(pending)
                    pending = []
                if found == len(wanted):
                    break
    except av.error.FFmpegError as error:
        raise BadVideoError(info.path, f"decoding stopped after {found} of {len(wanted)} frames: {error}") from error
    if found < len(wanted):
        raise BadVideoError(info.path, f"only {found} of {len(wanted)} frames could be decoded")
    if pending:
        yield np.stack(pending)


def _video_position(container: av.container.InputContainer, stream_index: int) -> int:
    """Which of the file's video streams the stream of that index is."""
    return [s.index for s in container.streams.video].index(stream_index)
