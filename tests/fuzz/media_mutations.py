"""Ways in which a media file comes to harm: to its bytes, or to its packets while it is written anew.

Each is a function of a file's content and a generator, so that a seed gives the same file again.
"""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import numpy as np
from fuzz.clips import BITEXACT

Rng = np.random.Generator
_EXTREMES = (0, 1, 2, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
_CLOCK_JUMPS = (1 << 16, 1 << 24, 1 << 33, 1 << 40, 1 << 55)
"""In ticks: from seconds to years."""


# ---- bytes ----


def _place(data: bytes | bytearray, rng: Rng, largest_frac: float = 0.03) -> tuple[int, int]:
    """Start and end of a piece of some bytes."""
    length = int(rng.integers(1, max(2, int(len(data) * largest_frac))))
    at = int(rng.integers(0, max(1, len(data) - length)))
    return at, at + length


def flip_bits(data: bytearray, rng: Rng) -> None:
    for at in rng.integers(0, len(data), int(rng.choice([1, 3, 10, 50]))):
        data[at] ^= 1 << int(rng.integers(8))


def make_noise(data: bytearray, rng: Rng) -> None:
    start, end = _place(data, rng)
    data[start:end] = rng.bytes(end - start)


def make_zero(data: bytearray, rng: Rng) -> None:
    start, end = _place(data, rng, 0.1)
    data[start:end] = bytes(end - start)


def cut_tail(data: bytearray, rng: Rng) -> None:
    del data[int(rng.integers(1, len(data))) :]


def cut_head(data: bytearray, rng: Rng) -> None:
    del data[: int(rng.integers(1, max(2, len(data) // 4)))]


def cut_out(data: bytearray, rng: Rng) -> None:
    start, end = _place(data, rng)
    del data[start:end]


def write_twice(data: bytearray, rng: Rng) -> None:
    start, end = _place(data, rng)
    data[end:end] = data[start:end]


def splice(data: bytearray, rng: Rng) -> None:
    """A piece from elsewhere in the file over another."""
    start, end = _place(data, rng)
    other = int(rng.integers(0, max(1, len(data) - (end - start))))
    data[start:end] = data[other : other + end - start]


def harm_header(data: bytearray, rng: Rng) -> None:
    """A field behind a four-letter name, or among the first bytes, at an extreme value."""
    names = [m.end() for m in re.finditer(rb"[a-zA-Z]{3}[a-zA-Z0-9 ]", bytes(data[:4096] + data[-8192:]))]
    names = [at if at <= 4096 else at - 4096 + max(0, len(data) - 8192) for at in names]
    for _ in range(int(rng.integers(1, 4))):
        base = int(rng.choice(names)) if names and rng.random() < 0.7 else int(rng.integers(0, min(512, len(data))))
        at, length = base + 4 * int(rng.integers(0, 8)), int(rng.choice([1, 2, 4]))
        value = int(rng.choice(_EXTREMES)) & (1 << 8 * length) - 1
        data[at : at + length] = value.to_bytes(length, str(rng.choice(["big", "little"])))  # type: ignore[arg-type]


def concatenate(data: bytearray, rng: Rng) -> None:
    """The file twice, the second time perhaps from its middle."""
    data.extend(bytes(data[int(rng.choice([0, len(data) // 2])) :]))


def append_noise(data: bytearray, rng: Rng) -> None:
    data.extend(rng.bytes(int(rng.integers(1, 20000))))


def _of_bytes(change: Callable[[bytearray, Rng], None]) -> Mutation:
    def mutate(content: bytes, container: str, rng: Rng) -> bytes:
        data = bytearray(content)
        change(data, rng)
        return bytes(data)

    return mutate


# ---- packets ----

Packets = list[av.Packet]


def duplicate(packets: Packets, rng: Rng) -> Iterator[int]:
    """Indices of packets as they are written: some twice."""
    twice = set(_some(packets, rng))
    for n in range(len(packets)):
        yield from (n, n) if n in twice else (n,)


def drop(packets: Packets, rng: Rng) -> Iterator[int]:
    left_out = set(_some(packets, rng))
    return (n for n in range(len(packets)) if n not in left_out)


def reorder(packets: Packets, rng: Rng) -> Iterator[int]:
    """Some packets and the next change places, each with its own times."""
    order = list(range(len(packets)))
    for n in _some(packets[1:], rng):
        order[n], order[n + 1] = order[n + 1], order[n]
    return iter(order)


def share_times(packets: Packets, rng: Rng) -> None:
    """Some packets have the time of the one before."""
    for n in _some(packets[1:], rng):
        packets[n + 1].pts = packets[n].pts


def swap_times(packets: Packets, rng: Rng) -> None:
    for n in _some(packets[1:], rng):
        packets[n].pts, packets[n + 1].pts = packets[n + 1].pts, packets[n].pts


def jump_clock(packets: Packets, rng: Rng) -> None:
    """All times from some packet on are later, by seconds or by years, or earlier."""
    start, jump = int(rng.integers(1, len(packets))), int(rng.choice(_CLOCK_JUMPS))
    jump = -jump if rng.random() < 0.2 else jump
    for packet in packets[start:]:
        _shift(packet, jump)


def jump_once(packets: Packets, rng: Rng) -> None:
    """One packet alone lies years later."""
    _shift(packets[int(rng.integers(1, len(packets)))], int(rng.choice(_CLOCK_JUMPS)))


def lie_of_keys(packets: Packets, rng: Rng) -> None:
    for packet in packets:
        packet.is_keyframe = bool(rng.random() < 0.5)


def harm_payload(packets: Packets, rng: Rng) -> Iterator[int]:
    """Bytes inside some packets change, and the container knows nothing of it."""
    for n in _some(packets, rng):
        data = bytearray(bytes(packets[n]))
        if not data:
            continue
        start, end = _place(data, rng, 0.5)
        data[start:end] = rng.bytes(end - start) if rng.random() < 0.5 else bytes(end - start)
        packets[n] = _with_content(packets[n], bytes(data))
    return iter(range(len(packets)))


def cut_payload(packets: Packets, rng: Rng) -> Iterator[int]:
    for n in _some(packets, rng):
        if (size := packets[n].size) > 1:
            packets[n] = _with_content(packets[n], bytes(packets[n])[: int(rng.integers(1, size))])
    return iter(range(len(packets)))


def _some(packets: Packets, rng: Rng) -> list[int]:
    count = min(len(packets), int(rng.choice([1, 2, 5])))
    return rng.choice(len(packets), count, replace=False).tolist() if count else []


def _shift(packet: av.Packet, ticks: int) -> None:
    packet.pts = None if packet.pts is None else packet.pts + ticks
    packet.dts = None if packet.dts is None else packet.dts + ticks


def _with_content(packet: av.Packet, content: bytes) -> av.Packet:
    other = av.Packet(content)
    other.pts, other.dts, other.time_base = packet.pts, packet.dts, packet.time_base
    other.is_keyframe, other.stream = packet.is_keyframe, packet.stream
    return other


def _of_packets(change: Callable[[Packets, Rng], Iterator[int] | None]) -> Mutation:
    """The file written anew, into the same container, from packets that were changed."""

    def mutate(content: bytes, container: str, rng: Rng) -> bytes:
        out = io.BytesIO()
        with contextlib.suppress(av.error.FFmpegError):  # the muxer takes no more; what is written stays
            _write_anew(content, out, container, lambda packets: change(packets, rng))
        return out.getvalue()

    return mutate


def _write_anew(
    content: bytes, out: io.BytesIO, container: str, change: Callable[[Packets], Iterator[int] | None]
) -> None:
    with av.open(io.BytesIO(content)) as source, av.open(out, "w", format=container, options=BITEXACT) as target:
        stream = source.streams.video[0]
        written = target.add_stream_from_template(stream, opaque=True)
        packets = [p for p in source.demux(stream) if p.size]
        order = change(packets) if len(packets) > 1 else None
        for packet in packets if order is None else [packets[n] for n in order]:
            copy = _with_content(packet, bytes(packet))
            copy.stream = written
            with contextlib.suppress(av.error.FFmpegError):  # the muxer refuses such times
                target.mux(copy)


Mutation = Callable[[bytes, str, Rng], bytes]
"""Content, FFmpeg's name of the container to write, generator -> content."""
_BYTES = (
    flip_bits,
    make_noise,
    make_zero,
    cut_tail,
    cut_head,
    cut_out,
    write_twice,
    splice,
    harm_header,
    concatenate,
    append_noise,
)
_PACKETS = (
    duplicate,
    drop,
    reorder,
    share_times,
    swap_times,
    jump_clock,
    jump_once,
    lie_of_keys,
    harm_payload,
    cut_payload,
)
MUTATIONS: dict[str, Mutation] = {
    "intact": lambda content, container, rng: content,
    "rename": lambda content, container, rng: content,  # the name's end is changed by whoever writes it
    **{change.__name__: _of_bytes(change) for change in _BYTES},
    **{change.__name__: _of_packets(change) for change in _PACKETS},
}
RENAMED_TO = (".mp4", ".mkv", ".avi", ".ts", ".mpg", ".webm", ".gif", ".txt", "")


def name_of(path: Path, kind: str, rng: Rng) -> Path:
    """Where a mutated file is written."""
    return path.with_suffix(str(rng.choice(RENAMED_TO))) if kind == "rename" else path


FORMATS = {
    ".mp4": "mp4",
    ".mov": "mov",
    ".mkv": "matroska",
    ".webm": "webm",
    ".avi": "avi",
    ".mpg": "mpeg",
    ".vob": "vob",
    ".ts": "mpegts",
    ".flv": "flv",
    ".asf": "asf",
    ".wmv": "asf",
    ".3gp": "3gp",
    ".gif": "gif",
    ".apng": "apng",
    ".ogv": "ogv",
    ".mxf": "mxf",
    ".nut": "nut",
    ".wtv": "wtv",
    ".m1v": "mpeg1video",
    ".ivf": "ivf",
    ".obu": "obu",
    ".rm": "rm",
}
"""FFmpeg's name of a container by the end of a file's name."""
