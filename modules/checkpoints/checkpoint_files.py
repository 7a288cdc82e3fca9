"""Checkpoints on disk: one plain file of torch, written tensor by tensor, whole or not at all.

While one is written, host memory holds its largest tensor, not all of them. torch itself copies what lies on a device
one storage at a time. Where tensors lie in shares over ranks (`Gathered`), the file is laid out first, with holes where
the numbers belong; then each tensor is put together, written into its place and let go before the next.

A file appears under its name when it is complete: it is written beside it, then renamed. It is read by memory map,
under ``weights_only``, once its checksums (`modules.checkpoints.checkpoint_sums`) are found right and its weights
finite.
"""

from __future__ import annotations

import pickle
import zipfile
import zlib
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import lightning
import torch
from lightning.fabric.plugins import CheckpointIO, TorchCheckpointIO
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._pytree import keystr, tree_leaves, tree_leaves_with_path, tree_map

from modules.checkpoints.checkpoint_sums import compare_sums, keep_sums
from modules.checkpoints.finite import not_finite, trained_tensors
from modules.checkpoints.sampler_files import SUFFIX, read_sampler
from modules.files.whole_files import appearing


@dataclass(frozen=True)
class Gathered:
    """Stands in a checkpoint for a tensor that lies in shares over the ranks."""

    shape: torch.Size
    whole: Callable[[], Tensor]
    """Puts it together, called on all ranks in the order of the checkpoint."""
    dtype: torch.dtype = torch.float32


_TENSORS = (Tensor, Gathered)
PATH_KEY = "path"
"""Of a checkpoint that was read for a trainer: the file that it is."""


def write(checkpoint: dict[str, Any], path: str | Path, *, writer: bool = True) -> None:
    """Writes plain data to one file.

    Args:
        checkpoint: plain data, tensors and `Gathered`; alike on all ranks if it has any of the latter.
        path: of the file; its folder is made. A file or link of that name is replaced.
        writer: false on ranks that only give their shares.

    Raises:
        ValueError: weights, or the optimizer's states of them, are not finite; the file of that name stays as it was.
        StorageError: there is no room, or no right to write there.
    """
    refuse_nonfinite(checkpoint)
    final = Path(path)
    # one name a folder: what a killed run has left is written over
    place = appearing(final, "checkpoint", "unfinished.part") if writer else nullcontext(final)
    with place as part:
        if any(isinstance(leaf, Gathered) for leaf in tree_leaves(checkpoint)):
            _write_pieces(checkpoint, part, writer)
        elif writer:
            torch.save(checkpoint, part)


def refuse_nonfinite(checkpoint: dict[str, Any]) -> None:
    """Stops a save that would put weights of no use in the place of good ones.

    Raises:
        ValueError: names the first tensor that is not finite.
    """
    name = not_finite(trained_tensors(checkpoint))
    if name is not None:
        raise ValueError(_not_saved(name))


def _not_saved(name: str) -> str:
    return (
        f"{name}: no longer finite (NaN or infinite), so no checkpoint is written and the run ends; what it has saved "
        "before is whole. Go on from there with a smaller learning rate"
    )


def read(path: str | Path) -> dict[str, Any]:
    """The checkpoint, its tensors mapped instead of read: only what is looked at takes memory.

    What `lightning consolidate` wrote is read too, as a checkpoint of a sampler alone.

    Raises:
        ValueError: it is none, is damaged, holds anything but plain data, or weights that are not finite.
    """
    file = Path(path)
    reason = _no_checkpoint(file)
    if reason is None:
        try:
            checkpoint = read_sampler(file) if file.suffix == SUFFIX else _load(file)
        except ValueError as error:
            reason = str(error)
        except (pickle.UnpicklingError, zipfile.BadZipFile, RuntimeError, EOFError, KeyError, AttributeError) as error:
            raise ValueError(f"{path} is refused: it holds something else than plain data, or is damaged") from error
    if reason is None and not isinstance(checkpoint, dict):
        reason = "it holds no weights"
    if reason is None and (name := not_finite(trained_tensors(checkpoint))) is not None:
        reason = f"{name} in it is not finite (NaN or infinite); take an earlier checkpoint"
    if reason is not None:
        raise ValueError(f"{path} is refused: {reason}")
    return checkpoint


def _load(file: Path) -> Any:
    compare_sums(file)
    return torch.load(file, map_location="cpu", mmap=True, weights_only=True)


def _no_checkpoint(file: Path) -> str | None:
    """Why a path cannot be a checkpoint, by what lies there; None where it may be one."""
    if file.is_dir():
        return "it is a folder; name a file in it"
    if not file.is_file():
        return "there is no such file"
    with file.open("rb") as content:
        begins = content.read(4)
    if not begins:
        return "it is empty"
    if file.suffix != SUFFIX and not begins.startswith(b"PK"):
        return "it is no checkpoint of plain data, and nothing else is loaded"
    return None


class PlainFiles(TorchCheckpointIO):
    """How a trainer's checkpoints get to disk and back."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        write(checkpoint, path)

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        # where it is from is for messages; Lightning asks any checkpoint for the version that wrote it
        return {"pytorch-lightning_version": lightning.__version__, **read(path), PATH_KEY: str(path)}


def plain_files(io: CheckpointIO) -> CheckpointIO:
    """`PlainFiles` in place of Lightning's default, which builds the whole file in memory; what a user chose stays."""
    return PlainFiles() if type(io) is TorchCheckpointIO else io


def _write_pieces(checkpoint: dict[str, Any], part: Path, writer: bool) -> None:
    """Lays the file out, then fills it in, one tensor at a time."""
    tensors = [(keystr(at), leaf) for at, leaf in tree_leaves_with_path(checkpoint) if isinstance(leaf, _TENSORS)]
    offsets = _lay_out(checkpoint, part) if writer else [0] * len(tensors)
    sums: dict[int, int] = {}
    with part.open("r+b") if writer else nullcontext() as file:
        for (name, tensor), offset in zip(tensors, offsets, strict=True):
            sums[offset] = _put(name, tensor, file, offset)
    if writer:
        keep_sums(part, sums)


def _put(name: str, tensor: Tensor | Gathered, file: BinaryIO | None, offset: int) -> int:
    """Writes one tensor into its place; a function of its own, so that it is let go before the next is made.

    Returns:
        CRC-32 of what was written; 0 on ranks that write nothing.
    """
    whole = tensor.whole() if isinstance(tensor, Gathered) else tensor
    if isinstance(tensor, Gathered) and not_finite([(name, whole)]):
        raise ValueError(_not_saved(name))  # on all ranks: each has it whole
    if file is None:
        return 0
    plain = whole.detach().to("cpu", tensor.dtype).reshape(-1).view(torch.uint8).numpy().data
    file.seek(offset)
    file.write(plain)
    return zlib.crc32(plain)


def _lay_out(checkpoint: dict[str, Any], part: Path) -> list[int]:
    """Writes the file without its numbers; gives the byte at which each tensor's begin, in order."""

    def placeholder(leaf: Any) -> Any:
        return torch.empty(leaf.shape, dtype=leaf.dtype) if isinstance(leaf, _TENSORS) else leaf

    with FakeTensorMode(), torch.serialization.skip_data(materialize_fake_tensors=True):
        torch.save(tree_map(placeholder, checkpoint), part)
        laid_out = torch.load(part, weights_only=True)
    storages: list[Any] = [t.untyped_storage() for t in tree_leaves(laid_out) if isinstance(t, Tensor)]
    return [storage._checkpoint_offset for storage in storages]
