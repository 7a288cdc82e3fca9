"""What a packet's first bytes say of its picture: whether decoding may begin at it, and whether others refer to it.

Containers carry a key-frame flag, which is true of what the muxer believed. Here the picture itself is asked: H.264
(NAL types and nal_ref_idc, ITU-T H.264 7.4.1), HEVC (NAL types, ITU-T H.265 7.4.2.2), MPEG-1, 2 and 4 (picture coding
type), VP9 and AV1 (frame headers). Of any other codec only one that has nothing but key frames is known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from datamodules.video.h264_headers import H264Reader
from datamodules.video.picture import UNKNOWN, Picture

_INTRA_ONLY = {"mjpeg", "prores", "dnxhd", "png", "rawvideo", "huffyuv", "ffvhuff", "utvideo"}
_HEAD_BYTES = 16384
"""Parameter sets and messages come before a picture; they are far shorter."""


def header_reader(codec: str, extradata: bytes | None) -> Callable[[memoryview], Picture]:
    """A function from a packet's bytes to its `Picture`.

    Args:
        codec: FFmpeg's name.
        extradata: of the stream; tells how NAL units are separated.
    """
    if codec in _INTRA_ONLY:
        return lambda packet: Picture(starts=True)
    if codec in ("h264", "hevc"):
        at = 4 if codec == "h264" else 21  # of the length's length in avcC and hvcC
        boxed = extradata is not None and len(extradata) > at and extradata[0] == 1
        length_bytes = (extradata[at] & 3) + 1 if extradata is not None and boxed else 0
        split = _boxed_units if boxed else _start_code_units
        read = _hevc
        if codec == "h264":
            read = H264Reader(_parameter_sets(memoryview(extradata or b""), boxed)).read
        return lambda packet: read(split(packet, length_bytes))
    return _READERS.get(codec, lambda packet: UNKNOWN)


def _boxed_units(packet: memoryview, length_bytes: int) -> Iterator[memoryview]:
    """NAL units behind their lengths (MP4, Matroska)."""
    at = 0
    while at + length_bytes < len(packet):
        length = int.from_bytes(packet[at : at + length_bytes], "big")
        yield packet[at + length_bytes : at + length_bytes + length]
        at += length_bytes + length


def _start_code_units(packet: memoryview, _: int) -> Iterator[memoryview]:
    """NAL units behind start codes (MPEG-TS, AVI); each goes on to the end of what is looked at."""
    head = bytes(packet[:_HEAD_BYTES])
    at = head.find(b"\0\0\1")
    while at >= 0:
        yield memoryview(head)[at + 3 :]
        at = head.find(b"\0\0\1", at + 3)


def _parameter_sets(extradata: memoryview, boxed: bool) -> Iterator[memoryview]:
    """Those of H.264 that are stored apart from packets: behind start codes, or counted in an avcC record."""
    if not boxed:
        yield from _start_code_units(extradata, 0)
        return
    at = 5
    while at + 3 <= len(extradata):  # sequence parameter sets, then picture parameter sets
        count, at = extradata[at] & 31, at + 1
        for _ in range(count):
            length = int.from_bytes(extradata[at : at + 2], "big")
            yield extradata[at + 2 : at + 2 + length]
            at += 2 + length


def _hevc(units: Iterator[memoryview]) -> Picture:
    for unit in units:
        if len(unit) < 2:
            return UNKNOWN
        kind, layer = (unit[0] >> 1) & 63, (unit[1] & 7) - 1
        if kind < 32:
            disposable = kind < 16 and kind % 2 == 0
            return Picture(16 <= kind <= 21, layer if disposable else None, layer=layer)
    return UNKNOWN


def _mpeg12(packet: memoryview) -> Picture:
    head = bytes(packet[:_HEAD_BYTES])
    at = head.find(b"\0\0\1\0")
    if at < 0 or at + 5 >= len(head):
        return UNKNOWN
    kind = (head[at + 5] >> 3) & 7  # 1 I, 2 P, 3 B
    return Picture(starts=kind == 1, disposable_at=0 if kind == 3 else None)


def _mpeg4(packet: memoryview) -> Picture:
    content = bytes(packet)
    at = content.find(b"\0\0\1\xb6")
    if at < 0 or at + 4 >= len(content) or content.find(b"\0\0\1\xb6", at + 4) >= 0:
        return UNKNOWN  # two pictures in one packet: what DivX called packed
    kind = content[at + 4] >> 6  # 0 I, 1 P, 2 B
    return Picture(starts=kind == 0, disposable_at=0 if kind == 2 else None)


def _vp8(packet: memoryview) -> Picture:
    """Never where to begin: a damaged VP8 stream decodes without complaint, and differently from each key frame."""
    return Picture(shown=bool(packet[0] & 16), known=False) if len(packet) else UNKNOWN


def _vp9(packet: memoryview) -> Picture:
    if not len(packet) or packet[0] >> 6 != 2 or packet[0] & 0x30 == 0x30:
        return UNKNOWN
    if packet[0] & 8:  # shows a frame decoded before
        return Picture()
    superframe = packet[-1] & 0xE0 == 0xC0
    return Picture(starts=not packet[0] & 4, shown=superframe or bool(packet[0] & 2))


def _av1(packet: memoryview) -> Picture:
    at, sequence_seen = 0, False
    while at < len(packet):
        kind, extended, sized = (packet[at] >> 3) & 15, packet[at] & 4, packet[at] & 2
        at += 2 if extended else 1
        size, shift = 0, 0
        while sized and at < len(packet):
            byte = packet[at]
            size, shift, at = size | (byte & 127) << shift, shift + 7, at + 1
            if byte < 128:
                break
        if kind in (3, 6):  # frame header: show_existing_frame 0, frame_type 00 (key), show_frame 1
            return Picture(starts=sequence_seen and at < len(packet) and packet[at] >> 4 == 1)
        if not sized:
            return UNKNOWN
        sequence_seen = sequence_seen or kind == 1
        at += size
    return UNKNOWN


_READERS: dict[str, Callable[[memoryview], Picture]] = {
    "mpeg1video": _mpeg12,
    "mpeg2video": _mpeg12,
    "mpeg4": _mpeg4,
    "vp8": _vp8,
    "vp9": _vp9,
    "av1": _av1,
    "libdav1d": _av1,
    "libvpx-vp9": _vp9,
}
