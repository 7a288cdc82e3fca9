"""What a video stream's packets say of its frames, read once: when each is shown, and what must be decoded to get it.

A frame is known by its presentation time in the stream's own ticks (pts): FFmpeg hands it from the packet to the frame
decoded from it, whatever the order. Which frame is number n follows from the sorted times, and is never counted.
Where packets carry no such times (H.264 in AVI), the order of showing is found by decoding the file once.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import av
import av.logging
import numpy as np

from datamodules.video.ffmpeg_log import complaints
from datamodules.video.picture import Picture
from datamodules.video.picture_headers import header_reader
from datamodules.video.video_file import has_times


@dataclass(frozen=True)
class PacketTable:
    """The frames of a stream in the order they are shown; N of them. Plain arrays, to be stored or sent."""

    container: str
    """FFmpeg's name of the file's format."""
    codec: str
    """FFmpeg's name."""
    pts: np.ndarray
    """int64 (N,), presentation times in ticks, all different: what a decoded frame is known by."""
    seconds: np.ndarray
    """float64 (N,), the same in seconds from the first frame, increasing."""
    key: np.ndarray
    """bool (N,), decoding may begin at this frame. What the picture itself says, not only the container."""
    decode_rank: np.ndarray
    """int64 (N,), place of the frame among the N in the order in which they are stored and decoded."""
    decodes_from: np.ndarray
    """int64 (N,), decode rank of the key frame at which decoding must begin to get this frame; 0: the file's start.

    For a picture that is shown before its key frame but stored behind it (open group of pictures) it is the key frame
    before that one.
    """
    non_reference: np.ndarray
    """bool (N,), no other frame is decoded from this one, so that it may be left out."""
    dts: np.ndarray
    """int64 (N,), decoding times in ticks, for seeking; the presentation time where there is none."""

    def __len__(self) -> int:
        return len(self.pts)

    @property
    def can_skip(self) -> bool:
        """Whether anything is known that lets a reader leave out packets."""
        return bool(self.decodes_from.any() or self.non_reference.any())

    def sequential(self) -> PacketTable:
        """The same frames, of which nothing is believed but their times: each is decoded from the file's start."""
        return dataclasses.replace(
            self, decodes_from=np.zeros(len(self), dtype=np.int64), non_reference=np.zeros(len(self), dtype=bool)
        )


@dataclass
class _Packets:
    """Columns of the packets that have frames, in the order they are stored."""

    pts: list[int] = dataclasses.field(default_factory=list)
    dts: list[int] = dataclasses.field(default_factory=list)
    flagged: list[bool] = dataclasses.field(default_factory=list)
    """The container calls it a key frame."""
    pictures: list[Picture] = dataclasses.field(default_factory=list)
    whole: bool = True
    """Each packet has a time that was stored with it, none looked damaged, and nothing was skipped over."""


def read_table(
    container: av.container.InputContainer, stream: av.VideoStream, alive: Callable[[], None] = lambda: None
) -> PacketTable | None:
    """Reads all packets of a stream; a cut-off tail ends the list. None where no packet carries a time.

    Args:
        container: just opened.
        stream: one of its video streams.
        alive: called now and then, since a long file takes a while.
    """
    packets = _read_packets(container, stream, alive)
    if not packets.pts:
        return None
    pts, first_at = np.unique(np.array(packets.pts, dtype=np.int64), return_index=True)
    every = packets.whole and len(pts) == len(packets.pts)
    kept = np.sort(first_at)  # packets by the order they are stored, without a second one of the same time
    rank_of_packet = np.zeros(len(packets.pts), dtype=np.int64)
    rank_of_packet[kept] = np.arange(len(kept))
    decode_rank = rank_of_packet[first_at]
    pictures = [packets.pictures[n] for n in first_at]
    understood = every and all(p.known for p in pictures)
    key = np.array([p.starts for p in pictures]) & np.array(packets.flagged)[first_at] & understood
    top = max((p.layer for p in pictures), default=0)
    return PacketTable(
        container=container.format.name,
        codec=stream.codec_context.name,
        pts=pts,
        seconds=(pts - pts[0]) * float(stream.time_base or 0),
        key=key,
        decode_rank=decode_rank,
        decodes_from=_decodes_from(pts, key, decode_rank),
        non_reference=np.array([p.disposable_at == top for p in pictures]) & understood,
        dts=np.array(packets.dts, dtype=np.int64)[first_at],
    )


def _read_packets(
    container: av.container.InputContainer, stream: av.VideoStream, alive: Callable[[], None]
) -> _Packets:
    picture_of, out = header_reader(stream.codec_context.name, stream.codec_context.extradata), _Packets()
    with complaints(av.logging.WARNING) as told:
        for packet in _until_cut_off(container, stream):
            alive()
            if not packet.size:
                continue
            picture = picture_of(memoryview(packet))
            if packet.pts is None or packet.is_corrupt:
                out.whole = False
            if packet.pts is None or packet.is_discard or not picture.shown:
                continue
            out.pts.append(packet.pts)
            out.dts.append(packet.pts if packet.dts is None else packet.dts)
            out.flagged.append(packet.is_keyframe)
            out.pictures.append(picture)
    out.whole = out.whole and not told and has_times(container)
    return out


def _until_cut_off(container: av.container.InputContainer, stream: av.VideoStream) -> Iterator[av.Packet]:
    with contextlib.suppress(av.error.FFmpegError):  # truncated: what came before is there
        yield from container.demux(stream)


def _decodes_from(pts: np.ndarray, key: np.ndarray, decode_rank: np.ndarray) -> np.ndarray:
    """Decode rank of the key frame from which each frame decodes; arrays in the order of showing."""
    num = len(pts)
    shown_at = np.empty(num, dtype=np.int64)
    shown_at[decode_rank] = pts
    is_key = np.empty(num, dtype=bool)
    is_key[decode_rank] = key
    last_key = np.maximum.accumulate(np.where(is_key, np.arange(num), 0))
    before = np.concatenate(([0], last_key[:-1]))  # of each packet: the last key frame stored before it
    leading = shown_at < shown_at[last_key]
    return np.where(leading, before[last_key], last_key)[decode_rank]


def shown_order(table: PacketTable, pts_as_shown: Iterable[int | None]) -> PacketTable:
    """The table of a file whose packets lie about the order of showing, by the order in which its frames come out.

    The times are the same; they are dealt to the frames in the order in which a decoder shows them.
    """
    place = {int(p): n for n, p in enumerate(table.pts)}
    order = np.array([place.pop(p) for p in pts_as_shown if p in place], dtype=np.int64)
    columns = {name: getattr(table, name)[order] for name in ("pts", "key", "dts")}
    rank = np.argsort(np.argsort(table.decode_rank[order]))  # some may never have come out
    return dataclasses.replace(table, seconds=table.seconds[: len(order)], decode_rank=rank, **columns).sequential()
