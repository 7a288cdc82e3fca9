"""Tensors in a file that is whole, unaltered and what its name says, or that is refused and made again.

A safetensors file whose header carries what it was made under and a checksum of each tensor. It is written beside its
place and renamed into it, so a reader sees all of it or nothing, and two writers of the same file do no harm.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save_file
from torch import Tensor

from modules.files.whole_files import StorageError, appearing

FORMAT_VERSION = "3"
_log = logging.getLogger(__name__)

Sealed = tuple[dict[str, Tensor], dict[str, str]]
"""Tensors by name, and what is told of them."""


def checksum(tensor: Tensor) -> str:
    """BLAKE2 of a tensor's bytes."""
    return hashlib.blake2b(tensor.contiguous().view(torch.uint8).numpy().data, digest_size=16).hexdigest()


def path_of(folder: Path, content: str, more: str = "") -> Path:
    """Where a folder keeps what belongs to a video's content and, where there is such, to ``more``."""
    tail = "-" + hashlib.sha256(more.encode()).hexdigest()[:12] if more else ""
    return folder / f"{content}{tail}.safetensors"


def seal(path: Path, tensors: Mapping[str, Tensor], made_under: Mapping[str, str], told: Mapping[str, str]) -> None:
    """Writes tensors, what they were made under, and what is told of them, atomically."""
    sums = json.dumps({name: checksum(tensor) for name, tensor in tensors.items()})
    metadata = {**told, **made_under, "format": FORMAT_VERSION, "checksums": sums}
    with appearing(path, "cache entry") as partial:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, partial, metadata)


def unseal(path: Path, made_under: Mapping[str, str], verify: bool) -> Sealed | None:
    """What a file holds, mapped from disk; None where it is missing or refused, and then it is removed.

    Args:
        path: of the file.
        made_under: what it has to have been made under.
        verify: compare the checksums, for which the whole file is read.

    Raises:
        StorageError: it is somebody else's, and may not be read.
    """
    if not path.exists():
        return None
    if not os.access(path, os.R_OK):  # safetensors would say that there is no such file
        raise StorageError(f"{path} may not be read: ask {_owner(path)} for `chmod a+r`, or name another folder")
    try:
        tensors, metadata = _whole(path) if verify else _mapped(path)
        sums = json.loads(metadata["checksums"])
        same = all(metadata[key] == value for key, value in {**made_under, "format": FORMAT_VERSION}.items())
        if not same or sums.keys() != tensors.keys():
            raise ValueError("its key does not match")
        if verify and any(checksum(tensor) != sums[name] for name, tensor in tensors.items()):
            raise ValueError("its checksum does not match")
    except (SafetensorError, ValueError, KeyError) as error:
        _log.warning("%s is refused and will be made again: %s", path, error)
        path.unlink(missing_ok=True)
        return None
    _mark_used(path)
    return tensors, metadata


def _owner(path: Path) -> str:
    try:
        return path.owner()
    except (KeyError, OSError, NotImplementedError):
        return "its owner"


def _mark_used(path: Path) -> None:
    """Sets a file's time to now, once a day, so that `lightning cache` can tell what nobody has needed for long."""
    with suppress(OSError):  # a cache may be another user's, or read-only
        if time.time() - path.stat().st_mtime > _DAY_S:
            os.utime(path)


_DAY_S = 86400.0


def _mapped(path: Path) -> Sealed:
    with safe_open(path, "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118


def _whole(path: Path) -> Sealed:
    """The same from one reading: mapping opens the file twice, and another process may rename its own in between."""
    content = path.read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    return load(content), header.get("__metadata__", {})
