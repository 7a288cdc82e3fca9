"""Video files: what they hold, by their packets rather than their headers, and which frames are candidates.

Headers promise more frames than there are, formats differ in what "frame number n" means, and libraries differ in which
stream they take. So every file is probed by reading its packets (`datamodules.video.packet_table`), the stream is the
one FFmpeg calls best (and the probe says which), and frames are known by the times they were stored with.

Imports neither torch nor lightning, so that a worker starts fast.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import av
import numpy as np

from datamodules.video.packet_table import PacketTable, read_table, shown_order
from datamodules.video.pyav_decoding import TableMismatchError, read_pyav
from datamodules.video.torchcodec_decoding import read_torchcodec
from datamodules.video.video_file import BadVideoError, has_times, open_file, status_of

__all__ = ["BadVideoError", "VideoInfo", "candidate_grid", "grid_of", "open_frames", "probe", "read_frames"]

_SLACK_S = 1e-6
"""A grid time this much before a frame's still shows it: times are rounded to ticks."""
_MESSAGE_FRAMES = 64
_COLOURS = 3
_MESSAGE_BYTES = 16 << 20
_FRAME_BYTES = 256 << 20
"""Of the largest picture that is handed over, 89 million pixels; 8K has 33. A few may wait for whoever takes them."""


@dataclass(frozen=True)
class VideoInfo:
    """What a file really holds, by its packets rather than its header."""

    path: str
    stream_index: int
    """The stream FFmpeg calls best."""
    table: PacketTable
    """Its frames, in the order they are shown."""
    width: int
    height: int
    rotation_deg: int
    """Counter-clockwise turn that shows the picture upright."""
    header_num_frames: int
    """What the header claims; 0 where it says nothing."""
    num_bytes: int = 0
    """Of the file when it was probed."""
    changed_ns: int = 0
    """When the file was changed last before that. One of another size or time is another file."""
    decoder: str = ""
    """Which library decoded it, once one has."""

    @property
    def timestamps_s(self) -> np.ndarray:
        """float64 (N,), presentation time of every frame from the first, increasing."""
        return self.table.seconds

    @property
    def num_frames(self) -> int:
        return len(self.table)

    @property
    def duration_s(self) -> float:
        """To the end of the last frame, taken to last as long as the frames before it do on average."""
        t = self.timestamps_s
        return float(t[-1] + (t[-1] / (len(t) - 1) if len(t) > 1 else 0.0))

    @property
    def fps(self) -> float:
        """Average rate."""
        return self.num_frames / self.duration_s if self.duration_s > 0 else 0.0


def probe(path: str, alive: Callable[[], None] = lambda: None) -> VideoInfo:
    """Reads all packets of the best video stream and decodes one frame.

    Args:
        path: the file.
        alive: called now and then, since a long file takes a while.

    Raises:
        BadVideoError: missing, no video stream, no frames, not decodable.
    """
    status = status_of(path)
    try:
        with open_file(path) as container:
            stream = container.streams.best("video")
            if not isinstance(stream, av.VideoStream):
                raise BadVideoError(path, "it has no video stream")
            if stream.codec_context is None:
                raise BadVideoError(path, "there is no decoder for its video stream")
            table, index, header = read_table(container, stream, alive), stream.index, stream.frames
        if table is None:
            raise BadVideoError(path, "it has no frames")
        with open_file(path) as container:
            stream = container.streams[index]
            assert isinstance(stream, av.VideoStream)
            frames = container.decode(stream)
            frame = next(frames, None)
            if frame is None:
                raise BadVideoError(path, "no frame of it can be decoded")
            rotation, width, height = frame.rotation, frame.width, frame.height
            if doubtful := _doubtful_frames(table, stream, has_times(container)):
                table = _checked_order(table, itertools.chain([frame], frames), doubtful, alive)
    except (av.error.FFmpegError, OSError) as error:
        raise BadVideoError(path, f"{error.strerror or error}") from error
    if rotation % 180:
        width, height = height, width
    _same_file(path, status.st_size, status.st_mtime_ns)
    return VideoInfo(path, index, table, width, height, rotation % 360, header, status.st_size, status.st_mtime_ns)


def _same_file(path: str, num_bytes: int, changed_ns: int) -> None:
    """Whether the file is the one that it was.

    Raises:
        BadVideoError: it is not.
    """
    status = status_of(path)
    if status.st_size != num_bytes:
        raise BadVideoError(path, f"it has {status.st_size} bytes, and had {num_bytes} when it was probed")
    if status.st_mtime_ns != changed_ns:
        raise BadVideoError(path, "it was written to after it was probed")


def _doubtful_frames(table: PacketTable, stream: av.VideoStream, times_are_stored: bool) -> int:
    """Of how many frames, from the first, the times may not be those at which they are shown.

    Where frames are shown in another order than stored, yet their times say they are not, the first will tell. In AVI,
    which stores no such times, and where all times are guesses, any may be wrong.
    """
    stored_as_shown = bool((np.diff(table.decode_rank) > 0).all())
    may_be_reordered = bool(stream.codec_context.has_b_frames) and stored_as_shown and not table.key.all()
    if not times_are_stored or (may_be_reordered and table.container == "avi"):
        return len(table)
    return _FIRST_FRAMES if may_be_reordered else 0


_FIRST_FRAMES = 64


def _checked_order(
    table: PacketTable, frames: Iterator[av.VideoFrame], doubtful: int, alive: Callable[[], None]
) -> PacketTable:
    """The table as it is if so many frames come out by their times, else as all frames come out."""
    shown = []
    for frame in itertools.islice(frames, doubtful):
        alive()
        shown.append(frame.pts)
    if all(a is not None and b is not None and a < b for a, b in itertools.pairwise(shown)):
        return table
    for frame in frames:
        alive()
        shown.append(frame.pts)
    return shown_order(table, shown)


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
    num_times = max(1, math.ceil(duration_s * fps - 1e-9))
    if max_candidates is not None and num_times > max_candidates:
        # in seconds, both ends included; `modules.selection.even_spacing` counts positions
        times = np.linspace(0.0, (num_times - 1) / fps, max_candidates)
        return np.unique(np.searchsorted(timestamps_s, times + _SLACK_S, side="right") - 1)
    # by frame, not by time: a clock that jumps by years makes a long grid of few frames
    first = np.maximum(np.ceil((timestamps_s - _SLACK_S) * fps), 0.0)  # number of the first grid time at or after it
    after = np.append(np.minimum(first[1:], num_times), num_times)
    return np.flatnonzero(first < after)


def read_frames(info: VideoInfo, frame_ids: np.ndarray, short_side_px: int | None = None) -> Iterator[np.ndarray]:
    """Decodes chosen frames, and only what they need.

    Args:
        info: the probed file.
        frame_ids: increasing positions among its frames.
        short_side_px: shrink while converting so that the short side has this length; None keeps the size.

    Yields:
        uint8 (n, H, W, 3) pieces, upright, in order; bounded in number and bytes.

    Raises:
        BadVideoError: some frame cannot be decoded.
    """
    return open_frames(info, frame_ids, short_side_px)[1]


def open_frames(
    info: VideoInfo,
    frame_ids: np.ndarray,
    short_side_px: int | None = None,
    decoder: str = "auto",
    alive: Callable[[], None] = lambda: None,
) -> tuple[str, Iterator[np.ndarray]]:
    """As `read_frames`, and the name of the library that serves this file."""
    if not len(frame_ids):
        return "", iter(())
    if frame_ids[-1] >= info.num_frames:
        raise BadVideoError(info.path, f"frame {frame_ids[-1]} was asked for, and it has {info.num_frames}")
    _same_file(info.path, info.num_bytes, info.changed_ns)
    width, height = info.width, info.height
    if short_side_px is not None and min(width, height) > short_side_px:
        ratio = short_side_px / min(width, height)
        width, height = max(1, round(width * ratio)), max(1, round(height * ratio))
    if (size := width * height * _COLOURS) > _FRAME_BYTES:
        reason = f"a frame of {width} x {height} pixels takes {size >> 20} MiB, more than {_FRAME_BYTES >> 20}"
        raise BadVideoError(info.path, f"{reason}; short_side_px makes it smaller")
    name, read = "pyav", read_pyav
    if decoder == "torchcodec" and not info.rotation_deg:
        name, read = "torchcodec", read_torchcodec
    return name, _pieces(info, frame_ids, width, height, read(info, frame_ids, width, height, alive))


def _pieces(
    info: VideoInfo, frame_ids: np.ndarray, width: int, height: int, frames: Iterator[np.ndarray]
) -> Iterator[np.ndarray]:
    """Frames put together to messages bounded in number and bytes; those before the end of a broken file come too."""
    most, found = max(1, min(_MESSAGE_FRAMES, _MESSAGE_BYTES // (width * height * _COLOURS))), 0
    piece: list[np.ndarray] = []
    try:
        for frame in frames:
            piece.append(frame)
            found += 1
            if len(piece) == most:
                yield np.stack(piece) if most > 1 else frame[None]
                piece = []
        if piece:
            yield np.stack(piece)
        _same_file(info.path, info.num_bytes, info.changed_ns)
    except (TableMismatchError, av.error.FFmpegError) as error:
        if piece:
            yield np.stack(piece)
        reason = f"of {len(frame_ids)} frames, {found} were read and the rest cannot be: {error}"
        raise BadVideoError(info.path, reason) from error
