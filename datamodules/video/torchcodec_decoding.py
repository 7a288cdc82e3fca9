"""Decoding by torchcodec, for those who choose it: each frame's time is held against the packet table.

torchcodec needs FFmpeg's libraries from the system, and imports torch, so a worker that uses it starts slowly. On one
thread it was not faster than PyAV by packet table (tests/benchmarks/decoding.py).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from datamodules.video.pyav_decoding import TableMismatchError, read_pyav

if TYPE_CHECKING:
    from datamodules.video.video_info import VideoInfo

_log = logging.getLogger(__name__)
_TOLERANCE_S = 5e-4
_FRAMES_AT_ONCE = 8


def read_torchcodec(
    info: VideoInfo, frame_ids: np.ndarray, width: int, height: int, alive: Callable[[], None] = lambda: None
) -> Iterator[np.ndarray]:
    """Frames uint8 (height, width, 3), one by one in the order of ``frame_ids``; by PyAV from where the two disagree.

    Raises:
        ImportError, RuntimeError: torchcodec does not load, or cannot read the file.
    """
    done = 0
    try:
        for pixels in _checked(info, frame_ids, width, height, alive):
            yield pixels
            done += 1
    except TableMismatchError as error:
        _log.warning("%s is decoded by PyAV: %s", info.path, error)
        yield from read_pyav(info, frame_ids[done:], width, height, alive)


def _checked(
    info: VideoInfo, frame_ids: np.ndarray, width: int, height: int, alive: Callable[[], None]
) -> Iterator[np.ndarray]:
    from torchcodec.decoders import VideoDecoder
    from torchcodec.transforms import Resize

    transforms = None if (width, height) == (info.width, info.height) else [Resize((height, width))]
    decoder = VideoDecoder(
        info.path,
        stream_index=info.stream_index,
        dimension_order="NHWC",
        num_ffmpeg_threads=1,
        transforms=transforms,
    )
    if len(decoder) != info.num_frames:
        raise TableMismatchError(f"torchcodec counts {len(decoder)} frames, its packets {info.num_frames}")
    start_s = decoder.metadata.begin_stream_seconds
    for n in range(0, len(frame_ids), _FRAMES_AT_ONCE):
        ids = frame_ids[n : n + _FRAMES_AT_ONCE]
        batch = decoder.get_frames_at(ids.tolist())
        late_s = batch.pts_seconds.numpy() - start_s - info.timestamps_s[ids]
        if np.abs(late_s).max() > _TOLERANCE_S:
            raise TableMismatchError(f"torchcodec's frames are up to {np.abs(late_s).max():.3f} s from those asked for")
        alive()
        yield from batch.data.numpy()
