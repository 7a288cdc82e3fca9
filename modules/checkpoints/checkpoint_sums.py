"""Checksums of a checkpoint: those of its zip archive (CRC-32 of each record), kept at a save and compared at a load;
and of tensors in a ``.safetensors`` file, in its header.

torch writes them but never compares them, and leaves out those of tensors that are written into holes. A file without
them, as sharded runs have saved before, is loaded all the same, and that is said.
"""

from __future__ import annotations

import json
import logging
import struct
import zipfile
import zlib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

SUMS_KEY = "crc32"
"""Of a ``.safetensors`` file's header."""
_log = logging.getLogger(__name__)
_PIECE = 2**22
_ENTRY_BYTES, _CRC_AT, _LENGTHS_AT = 46, 16, 28
"""Of an entry of a zip archive's central directory: its fixed part, where its CRC-32 and its three lengths are."""

_UNREADABLE = (
    zipfile.BadZipFile,
    EOFError,
    NotImplementedError,
    RuntimeError,
    struct.error,
    OverflowError,
    OSError,
    UnicodeDecodeError,
)
"""What zipfile raises where an archive is damaged."""


def keep_sums(path: Path, sums: Mapping[int, int]) -> None:
    """Enters CRC-32s into an archive that was laid out without its numbers.

    Args:
        path: of the archive.
        sums: of records, by the byte at which their content begins.
    """
    with zipfile.ZipFile(path) as archive:
        records, entry = archive.infolist(), archive.start_dir
    with path.open("r+b") as file:
        for record in records:
            file.seek(record.header_offset + 26)
            begins = record.header_offset + 30 + sum(struct.unpack("<HH", file.read(4)))
            if begins in sums:
                file.seek(entry + _CRC_AT)
                file.write(struct.pack("<I", sums[begins]))
            file.seek(entry + _LENGTHS_AT)
            entry += _ENTRY_BYTES + sum(struct.unpack("<HHH", file.read(6)))


def compare_sums(path: Path) -> None:
    """Reads the whole file once; a file that was looked at already is not read again while it stays as it is.

    Raises:
        ValueError: it is no archive, or a record is not as it was written.
    """
    stat = path.stat()
    without = _records_without(path, stat.st_size, stat.st_mtime_ns)
    if without:
        _log.warning("%s keeps no checksums of %d tensors: damage to them would not be noticed", path, without)


@lru_cache(maxsize=64)
def _records_without(path: Path, size: int, time_ns: int) -> int:
    """The number of records without a checksum, all others being right."""
    try:
        with zipfile.ZipFile(path) as archive:
            records = archive.infolist()
            _refuse_others(records)
            for record in records:
                if _has_sum(record):
                    with archive.open(record) as content:
                        while content.read(_PIECE):
                            pass
    except _UNREADABLE as error:
        raise ValueError(f"it is cut off or damaged ({error or 'it ends too early'})") from error
    return sum(not _has_sum(record) for record in records)


def _refuse_others(records: list[zipfile.ZipInfo]) -> None:
    if not any(record.filename.endswith("/data.pkl") for record in records):
        raise ValueError("it is a zip archive, but no checkpoint")
    if any(record.compress_type != zipfile.ZIP_STORED for record in records):  # torch has none; a small one may be huge
        raise ValueError("its records are compressed, as a checkpoint's never are")


def _has_sum(record: zipfile.ZipInfo) -> bool:
    return bool(record.CRC) or not record.file_size


def sums_of(tensors: Mapping[str, Tensor]) -> str:
    """CRC-32 of each tensor's bytes, for a ``.safetensors`` file's header."""
    return json.dumps({name: zlib.crc32(_bytes(tensor)) for name, tensor in tensors.items()})


def compare_tensors(tensors: Mapping[str, Tensor], sums: str) -> None:
    """Raises:
    ValueError: names a tensor that is not as it was written.
    """
    expected = json.loads(sums)
    for name, tensor in tensors.items():
        if zlib.crc32(_bytes(tensor)) != expected.get(name):
            raise ValueError(f"it is damaged: {name} is not as it was written")


def _bytes(tensor: Tensor) -> memoryview:
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data
