"""What a file shows when PyAV decodes it in sequence, and what a reader's frames are worth beside it."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from datamodules.video.video_info import VideoInfo

Digest = bytes
"""Of a picture's pixels."""


@dataclass(frozen=True)
class Shown:
    """Frames in the order in which a decoder gives them."""

    pts: list[int | None]
    digests: list[Digest]
    damaged: list[bool]
    """FFmpeg says of the picture that it is."""


def digest(pixels: np.ndarray) -> Digest:
    return hashlib.blake2b(np.ascontiguousarray(pixels).data, digest_size=12).digest()


def in_sequence(path: str, stream_index: int, width: int, height: int, rotation_deg: int) -> Shown:
    """Every frame from the file's start, upright and of one size, going on behind packets that cannot be decoded."""
    shown, scaler, turns = Shown([], [], []), VideoReformatter(), rotation_deg // 90
    if turns % 2:
        width, height = height, width
    with av.open(path, metadata_errors="replace") as container:
        stream = container.streams[stream_index]
        stream.codec_context.thread_count = 1  # what stands in for a damaged part depends on it
        for packet in itertools.chain(_packets(container, stream), [None]):
            frames = []
            with contextlib.suppress(av.error.FFmpegError):
                frames = stream.codec_context.decode(packet)
            while frames:
                frame = frames.pop(0)
                pixels = scaler.reformat(frame, width, height, "rgb24", threads=1).to_ndarray()
                shown.pts.append(frame.pts)
                shown.digests.append(digest(np.rot90(pixels, turns)))
                shown.damaged.append(frame.is_corrupt)
                del frame  # its memory may show through in a damaged picture
    return shown


def _packets(container: av.container.InputContainer, stream: av.VideoStream) -> Iterator[av.Packet]:
    """To the end, or to where the file cannot be read any more."""
    with contextlib.suppress(av.error.FFmpegError):
        yield from (packet for packet in container.demux(stream) if packet.size)


@dataclass(frozen=True)
class Verdict:
    """Numbers of a reader's frames that are not what the file shows."""

    frames: int = 0
    phantom: int = 0
    """No frame of that time is ever shown."""
    shifted: int = 0
    """It is the picture of another time."""
    doubled: int = 0
    """It is the picture of the frame before, which the file shows once."""
    altered: int = 0
    """It is none of the file's pictures: in a damaged part something else shows."""

    @property
    def wrong(self) -> int:
        return self.phantom + self.shifted + self.doubled + self.altered


def judge(info: VideoInfo, frame_ids: np.ndarray, digests: list[Digest], shown: Shown) -> Verdict:
    """Each frame beside the first that is shown with its time."""
    of_time: dict[int, Digest] = {}
    for pts, of_picture in zip(shown.pts, shown.digests, strict=True):
        if pts is not None:
            of_time.setdefault(pts, of_picture)
    every, counts, before = set(shown.digests), dict.fromkeys(("phantom", "shifted", "doubled", "altered"), 0), None
    for frame_id, given in zip(frame_ids.tolist(), digests, strict=True):
        true = of_time.get(int(info.table.pts[frame_id]))
        if true is None:
            counts["phantom"] += 1
        elif given != true:
            counts["doubled" if given == before else "shifted" if given in every else "altered"] += 1
        before = given
    return Verdict(frames=len(digests), **counts)
