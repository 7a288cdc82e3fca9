"""Checkpoints on disk: one plain file of torch, written tensor by tensor, whole or not at all.

While one is written, host memory holds its largest tensor, not all of them. torch itself copies what lies on a device
one storage at a time. Where tensors lie in shares over ranks (`Gathered`), the file is laid out first, with holes where
the numbers belong; then each tensor is put together, written into its place and let go before the next.

A file appears under its name when it is complete: it is written beside it, then renamed. It is read by memory map,
under ``weights_only``. The zip checksums of what was written into holes are not kept; torch does not look at them.
"""

from __future__ import annotations

import os
import pickle
import zipfile
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch
from lightning.fabric.plugins import CheckpointIO, TorchCheckpointIO
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._pytree import tree_leaves, tree_map


@dataclass(frozen=True)
class Gathered:
    """Stands in a checkpoint for a tensor that lies in shares over the ranks."""

    shape: torch.Size
    whole: Callable[[], Tensor]
    """Puts it together, called on all ranks in the order of the checkpoint."""
    dtype: torch.dtype = torch.float32


def write(checkpoint: dict[str, Any], path: str | Path, *, writer: bool = True) -> None:
    """Writes plain data to one file.

    Args:
        checkpoint: plain data, tensors and `Gathered`; alike on all ranks if it has any of the latter.
        path: of the file; its folder is made. A file or link of that name is replaced.
        writer: false on ranks that only give their shares.
    """
    final = Path(path)
    part = final.with_name("unfinished.part")  # one name a folder: what a killed run has left is written over
    if writer:
        final.parent.mkdir(parents=True, exist_ok=True)
    try:
        if any(isinstance(leaf, Gathered) for leaf in tree_leaves(checkpoint)):
            _write_pieces(checkpoint, part, writer)
        elif writer:
            torch.save(checkpoint, part)
    except BaseException:
        if writer:
            part.unlink(missing_ok=True)
        raise
    if writer:
        os.replace(part, final)


def read(path: str | Path) -> dict[str, Any]:
    """The checkpoint, its tensors mapped instead of read: only what is looked at takes memory.

    Raises:
        ValueError: it is none, or holds anything but plain data.
    """
    try:
        return torch.load(path, map_location="cpu", mmap=True, weights_only=True)
    except (pickle.UnpicklingError, zipfile.BadZipFile, RuntimeError, EOFError) as error:
        raise ValueError(f"{path} is refused: it is no checkpoint of plain data, and nothing else is loaded") from error


class PlainFiles(TorchCheckpointIO):
    """How a trainer's checkpoints get to disk and back."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        write(checkpoint, path)

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        return read(path)


def plain_files(io: CheckpointIO) -> CheckpointIO:
    """`PlainFiles` in place of Lightning's default, which builds the whole file in memory; what a user chose stays."""
    return PlainFiles() if type(io) is TorchCheckpointIO else io


def _write_pieces(checkpoint: dict[str, Any], part: Path, writer: bool) -> None:
    """Lays the file out, then fills it in, one tensor at a time."""
    tensors = [leaf for leaf in tree_leaves(checkpoint) if isinstance(leaf, (Tensor, Gathered))]
    offsets = _lay_out(checkpoint, part) if writer else [0] * len(tensors)
    with part.open("r+b") if writer else nullcontext() as file:
        for tensor, offset in zip(tensors, offsets, strict=True):
            _put(tensor, file, offset)


def _put(tensor: Tensor | Gathered, file: BinaryIO | None, offset: int) -> None:
    """Writes one tensor into its place; a function of its own, so that it is let go before the next is made."""
    whole = tensor.whole() if isinstance(tensor, Gathered) else tensor
    if file is not None:
        plain = whole.detach().to("cpu", tensor.dtype).reshape(-1)
        file.seek(offset)
        file.write(plain.view(torch.uint8).numpy().data)


def _lay_out(checkpoint: dict[str, Any], part: Path) -> list[int]:
    """Writes the file without its numbers; gives the byte at which each tensor's begin, in order."""

    def placeholder(leaf: Any) -> Any:
        return torch.empty(leaf.shape, dtype=leaf.dtype) if isinstance(leaf, (Tensor, Gathered)) else leaf

    with FakeTensorMode(), torch.serialization.skip_data(materialize_fake_tensors=True):
        torch.save(tree_map(placeholder, checkpoint), part)
        laid_out = torch.load(part, weights_only=True)
    storages: list[Any] = [t.untyped_storage() for t in tree_leaves(laid_out) if isinstance(t, Tensor)]
    return [storage._checkpoint_offset for storage in storages]
