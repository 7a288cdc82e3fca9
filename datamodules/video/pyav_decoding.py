"""Decoding chosen frames: only what they need is decoded, and each comes with the time it was decoded with.

`plan` says which stretches of packets are needed: from the key frame on which a wanted frame depends up to that frame,
leaving out pictures that no other refers to. `read_pyav` feeds a decoder these packets and takes what comes out by its
time. What does not match the packet table (a seek that lands elsewhere, a packet out of order, a frame that never
comes, a decoder that complains) makes it begin again in sequence from the file's start, which is slow and always right.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from datamodules.video.ffmpeg_log import complaints
from datamodules.video.packet_table import PacketTable
from datamodules.video.video_file import open_file

if TYPE_CHECKING:
    from datamodules.video.video_info import VideoInfo

_log = logging.getLogger(__name__)
_SEEK_PACKETS = 64
"""A gap of more packets is sought over, a shorter one read through: a seek costs about as much as reading these."""
_ONE_THREAD = {"threads": 1} if int(av.__version__.split(".")[0]) >= 17 else {}
"""For scaling, which before PyAV 17 took no more anyway."""
_INDEXED = {"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm"}
"""Formats with an index of key frames. Others are read through: after a seek their packets' times are guessed anew."""


@dataclass
class Stretch:
    """Packets to decode one after another, by decode rank; both ends included."""

    first: int
    last: int


class TableMismatchError(RuntimeError):
    """The file does not do what its packet table says."""


def plan(table: PacketTable, frame_ids: np.ndarray) -> list[Stretch]:
    """The stretches that some frames (n,) need, in the order they are stored; neighbours are joined."""
    ranks, starts = table.decode_rank[frame_ids], table.decodes_from[frame_ids]
    stretches: list[Stretch] = []
    for first in np.unique(starts):
        last = int(ranks[starts == first].max())
        if stretches and first <= stretches[-1].last + 1:
            stretches[-1].last = max(stretches[-1].last, last)
        else:
            stretches.append(Stretch(int(first), last))
    return stretches


class _Packets:
    """The packets of one stretch after another, their order held against the table."""

    def __init__(
        self,
        container: av.container.InputContainer,
        stream: av.VideoStream,
        table: PacketTable,
        alive: Callable[[], None],
    ) -> None:
        self.container, self.stream, self.table, self.alive = container, stream, table, alive
        self.rank_of = dict(zip(table.pts.tolist(), table.decode_rank.tolist(), strict=True))
        self.next_rank: int | None = 0
        """Of the packet that comes next; None just after a seek."""

    def every(self) -> Iterator[av.Packet]:
        """Whatever comes next, to the end of the file."""
        for packet in self.container.demux(self.stream):
            self.alive()
            if packet.size:
                yield packet

    def of(self, stretch: Stretch, left_out: np.ndarray) -> Iterator[av.Packet]:
        """The packets of a stretch, but not those whose rank is marked in ``left_out`` (N,).

        A packet that belongs to no frame (cut off by an edit list) is given too, since others may be decoded from it.
        """
        if self.table.container in _INDEXED and stretch.first - (self.next_rank or 0) > _SEEK_PACKETS:
            self._seek(stretch.first)
        begun = stretch.first == 0
        for packet in self.every():
            rank = self.rank_of.get(packet.pts)
            if rank is None:
                if begun:
                    yield packet
                continue
            if self.next_rank not in (None, rank) or (rank > stretch.first and not begun):
                raise TableMismatchError(f"packet {rank} came where {self.next_rank} or {stretch.first} should")
            self.next_rank = rank + 1
            begun = begun or rank == stretch.first
            if begun and not left_out[rank]:
                yield packet
            if rank == stretch.last:
                return
        raise TableMismatchError(f"the packets end before number {stretch.last}")

    def _seek(self, rank: int) -> None:
        """To a key frame or before it: by its earlier time, since formats differ in which of the two they seek by."""
        key = int(np.flatnonzero(self.table.decode_rank == rank)[0])
        ticks = min(int(self.table.pts[key]), int(self.table.dts[key]))
        self.container.seek(ticks, stream=self.stream)
        self.next_rank = None


def decode_frames(
    info: VideoInfo, table: PacketTable, frame_ids: np.ndarray, alive: Callable[[], None] = lambda: None
) -> Iterator[tuple[int, av.VideoFrame]]:
    """Frame ids and decoded frames, as they come out of the decoder.

    Raises:
        TableMismatchError: not all could be had in the way the table says.
        av.error.FFmpegError: the file cannot be read or decoded.
    """
    wanted = {int(table.pts[i]): int(i) for i in frame_ids}
    left_out = np.empty(len(table), dtype=bool)
    left_out[table.decode_rank] = table.non_reference
    left_out[table.decode_rank[frame_ids]] = False
    with open_file(info.path) as container:
        stream = container.streams[info.stream_index]
        assert isinstance(stream, av.VideoStream)
        decoder = stream.codec_context
        decoder.thread_count = 1  # files are decoded side by side, each in a process of its own
        packets = _Packets(container, stream, table, alive)
        for stretch in plan(table, frame_ids):
            shown_from = int(table.pts[table.decode_rank == stretch.first][0])
            for packet in itertools.chain(
                packets.of(stretch, left_out) if table.can_skip else packets.every(), (None,)
            ):
                with complaints() as told:
                    frames = decoder.decode(packet)  # None: what it still holds back
                if told and table.can_skip:
                    raise TableMismatchError(f"its decoder says: {told[0]}")
                while frames:
                    frame = frames.pop(0)
                    if frame.is_corrupt and table.can_skip and (frame.pts or 0) >= shown_from:
                        raise TableMismatchError(f"the picture with time {frame.pts} is damaged")
                    frame_id = None if frame.pts is None else wanted.pop(frame.pts, None)
                    if frame_id is not None:
                        yield frame_id, frame
                    del frame  # its memory may show through in a damaged picture: whether it was wanted may not matter
                if not wanted:
                    return
            decoder.flush_buffers()
    raise TableMismatchError(f"{len(wanted)} frames were never shown")


def read_pyav(
    info: VideoInfo, frame_ids: np.ndarray, width: int, height: int, alive: Callable[[], None] = lambda: None
) -> Iterator[np.ndarray]:
    """Frames uint8 (height, width, 3), upright, one by one in the order of ``frame_ids``, which increase.

    Raises:
        TableMismatchError: some frame never comes, not even when the whole file is decoded in sequence.
        av.error.FFmpegError: the file cannot be read or decoded.
    """
    done = 0
    attempts = [info.table, info.table.sequential()] if info.table.can_skip else [info.table]
    for table in attempts:
        try:
            for pixels in _in_order(info, table, frame_ids[done:], width, height, alive):
                yield pixels
                done += 1
            return
        except (TableMismatchError, av.error.FFmpegError) as error:
            if table is attempts[-1]:
                raise
            _log.warning("%s is decoded in sequence, since it does not keep to its packet table: %s", info.path, error)


def _in_order(
    info: VideoInfo, table: PacketTable, frame_ids: np.ndarray, width: int, height: int, alive: Callable[[], None]
) -> Iterator[np.ndarray]:
    turns = info.rotation_deg // 90
    if turns % 2:
        width, height = height, width
    scaler = VideoReformatter()
    early: dict[int, np.ndarray] = {}
    expected = iter(frame_ids.tolist())
    next_id = next(expected, None)
    for frame_id, frame in decode_frames(info, table, frame_ids, alive):
        pixels = scaler.reformat(frame, width, height, "rgb24", **_ONE_THREAD).to_ndarray()
        del frame  # as in `decode_frames`
        early[frame_id] = np.ascontiguousarray(np.rot90(pixels, turns))
        while next_id in early:
            yield early.pop(next_id)
            next_id = next(expected, None)
