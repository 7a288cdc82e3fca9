"""What an H.264 packet says of its picture, and whether a picture is missing before it (ITU-T H.264, 7.3 and 7.4).

Every picture carries the number of reference pictures before it (frame_num, a few bits). Where it does not follow on
from the picture before, packets were lost, doubled or shuffled: a decoder that goes through them then holds other
pictures than one that begins at a later key frame.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from datamodules.video.picture import UNKNOWN, Picture

_HEADER_BYTES = 64
"""Of a slice or of a picture parameter set; what is read of them is shorter."""
_WITH_CHROMA = {100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135}
"""Profiles whose sequence parameter sets tell the format of chroma."""


class _Bits:
    """Reads a NAL unit's fields; behind its end lie zeros."""

    def __init__(self, unit: memoryview, most: int) -> None:
        content = bytes(unit[1:most]).replace(b"\0\0\3", b"\0\0")
        self.value, self.left = int.from_bytes(content, "big"), 8 * len(content)

    def take(self, count: int) -> int:
        self.left -= count
        if self.left < 0:
            raise ValueError("the unit ends")
        return self.value >> self.left & (1 << count) - 1

    def unsigned(self) -> int:
        """ue(v), 9.1."""
        rest = self.value & (1 << self.left) - 1
        zeros = self.left - rest.bit_length()
        self.take(zeros)
        return self.take(zeros + 1) - 1

    def signed(self) -> int:
        """se(v), 9.1.1."""
        code = self.unsigned()
        return (code + 1) // 2 if code & 1 else -(code // 2)


@dataclass
class PictureNumbers:
    """Whether each picture follows on from the one before."""

    num_bits: dict[int, tuple[int, bool]] = field(default_factory=dict)
    """Of frame_num, by sequence parameter set, and whether a slice first names its colour plane."""
    sequence_of: dict[int, int] = field(default_factory=dict)
    """Sequence parameter set by picture parameter set."""
    of_reference: int | None = None
    """frame_num of the last picture that others may refer to."""

    def note_sequence(self, unit: memoryview) -> None:
        """7.3.2.1.1, up to log2_max_frame_num_minus4."""
        bits = _Bits(unit, len(unit))
        profile, _, name = bits.take(8), bits.take(16), bits.unsigned()
        planes = False
        if profile in _WITH_CHROMA:
            chroma = bits.unsigned()
            planes = chroma == 3 and bool(bits.take(1))
            bits.unsigned(), bits.unsigned(), bits.take(1)
            if bits.take(1):
                for n in range(12 if chroma == 3 else 8):
                    if bits.take(1):
                        _pass_scaling_list(bits, 16 if n < 6 else 64)
        self.num_bits[name] = bits.unsigned() + 4, planes

    def note_picture(self, unit: memoryview) -> None:
        bits = _Bits(unit, _HEADER_BYTES)
        name = bits.unsigned()
        self.sequence_of[name] = bits.unsigned()

    def follows(self, slice_unit: memoryview) -> bool:
        """Whether a picture's first slice (7.3.3) has the number that comes next."""
        bits = _Bits(slice_unit, _HEADER_BYTES)
        bits.unsigned(), bits.unsigned()
        length, planes = self.num_bits[self.sequence_of[bits.unsigned()]]
        if planes:
            bits.take(2)
        number, before = bits.take(length), self.of_reference
        if slice_unit[0] & 0x60:
            self.of_reference = number
        if slice_unit[0] & 31 == 5:
            return number == 0
        return before is None or number == (before + 1) % (1 << length)


def _pass_scaling_list(bits: _Bits, size: int) -> None:
    """7.3.2.1.1.1."""
    last = following = 8
    for _ in range(size):
        if following:
            following = (last + bits.signed()) % 256
        last = following or last


class H264Reader:
    """Reads the packets of a stream one after another.

    Args:
        parameter_sets: NAL units that were stored apart from the packets.
    """

    def __init__(self, parameter_sets: Iterable[memoryview]) -> None:
        self.numbers = PictureNumbers()
        self.read(parameter_sets)

    def read(self, units: Iterable[memoryview]) -> Picture:
        """What a packet's NAL units say."""
        try:
            return self._read(units)
        except (ValueError, KeyError, IndexError):  # cut short, or of a parameter set that was never there
            return UNKNOWN

    def _read(self, units: Iterable[memoryview]) -> Picture:
        recovers = False
        for unit in units:
            kind = unit[0] & 31
            if kind == 6:
                recovers = recovers or _recovers_at_once(unit[1:])
            elif kind == 7:
                self.numbers.note_sequence(unit)
            elif kind == 8:
                self.numbers.note_picture(unit)
            elif 1 <= kind <= 5:
                if not self.numbers.follows(unit):
                    return UNKNOWN
                if kind == 5:
                    return Picture(starts=True)
                return Picture(starts=recovers, disposable_at=None if unit[0] & 0x60 else 0)
        return UNKNOWN


def _recovers_at_once(messages: memoryview) -> bool:
    """Whether a recovery point message (type 6) with recovery_frame_cnt 0 is among supplemental messages."""
    at = 0
    while at + 2 < len(messages):
        values = []
        for _ in range(2):  # type, size: each a run of 255s and a last byte
            value = 0
            while at < len(messages) and messages[at] == 255:
                value, at = value + 255, at + 1
            if at >= len(messages):
                return False
            values.append(value + messages[at])
            at += 1
        if values[0] == 6:
            return at < len(messages) and bool(messages[at] & 0x80)
        at += values[1]
    return False
