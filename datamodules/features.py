"""The feature store: one entry per video and encoder, shared by every question on the video and by every process.

An entry is a safetensors file of the features, frame ids and times; its header carries the key it was made under and a
checksum. It is written beside its place and renamed into it, so a reader sees all of it or nothing, and two writers of
the same entry do no harm. An entry whose key or checksum does not match is refused and made again.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save_file
from torch import Tensor

from modules.records import Candidates

FORMAT_VERSION = "2"
_log = logging.getLogger(__name__)


def checksum(tensor: Tensor) -> str:
    """BLAKE2 of a tensor's bytes."""
    return hashlib.blake2b(tensor.contiguous().view(torch.uint8).numpy().data, digest_size=16).hexdigest()


@dataclass(frozen=True)
class Entry:
    """Features of the candidates of one video."""

    candidates: Candidates
    features: Tensor
    """(T, ...) in the dtype they were stored in, mapped from disk."""


@dataclass(frozen=True)
class FeatureStore:
    """Entries below a folder.

    Args:
        root: the folder.
        grid: how candidates are chosen, as a string; part of every key.
    """

    root: Path
    grid: str

    def path(self, video: str, encoder_key: str) -> Path:
        """Where the entry of a video lies; its name holds the file's size and time, so a replaced video misses."""
        stat = os.stat(video)
        identity = f"{os.path.abspath(video)}|{stat.st_size}|{stat.st_mtime_ns}|{self.grid}"
        name = hashlib.sha256(identity.encode()).hexdigest()[:20]
        return self.root / encoder_key / f"{Path(video).stem}-{name}.safetensors"

    def has(self, video: str, encoder_key: str) -> bool:
        """Whether a whole, matching entry is there. Reads the header and checks the sum."""
        return self.path(video, encoder_key).exists() and self._load(video, encoder_key, verify=True) is not None

    def load(self, video: str, encoder_key: str) -> Entry:
        """The entry of a video.

        Raises:
            KeyError: it is missing, or does not match; extract it (again).
        """
        entry = self._load(video, encoder_key, verify=False)
        if entry is None:
            raise KeyError(f"no features of {video} under {encoder_key} in {self.root}")
        return entry

    def save(self, video: str, encoder_key: str, entry: Entry) -> None:
        """Writes an entry, atomically."""
        path = self.path(video, encoder_key)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(f".{os.getpid()}.partial")
        tensors = {
            "features": entry.features.contiguous(),
            "frame_ids": entry.candidates.frame_ids,
            "timestamps_s": entry.candidates.timestamps_s,
        }
        metadata = {
            "format": FORMAT_VERSION,
            "key": encoder_key,
            "grid": self.grid,
            "duration_s": repr(entry.candidates.duration_s),
            "num_video_frames": str(entry.candidates.num_video_frames),
            "decoder": entry.candidates.decoder,
            "checksums": json.dumps({name: checksum(t) for name, t in tensors.items()}),
        }
        save_file(tensors, partial, metadata)
        os.replace(partial, path)

    def _load(self, video: str, encoder_key: str, verify: bool) -> Entry | None:
        path = self.path(video, encoder_key)
        if not path.exists():
            return None
        try:
            metadata, tensors = _whole(path) if verify else _mapped(path)
            sums = json.loads(metadata["checksums"])
            same = (metadata["format"], metadata["key"], metadata["grid"]) == (FORMAT_VERSION, encoder_key, self.grid)
            if not same or (verify and any(checksum(t) != sums[name] for name, t in tensors.items())):
                raise ValueError("its key or checksum does not match")
            duration_s, num_video_frames = float(metadata["duration_s"]), int(metadata["num_video_frames"])
        except (SafetensorError, ValueError, KeyError) as error:
            _log.warning("feature entry %s is refused and will be made again: %s", path, error)
            path.unlink(missing_ok=True)
            return None
        candidates = Candidates(
            video, tensors["frame_ids"], tensors["timestamps_s"], duration_s, num_video_frames, metadata["decoder"]
        )
        return Entry(candidates, tensors["features"])


_TENSORS = ("features", "frame_ids", "timestamps_s")


def _mapped(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Header and tensors, mapped from disk."""
    with safe_open(path, "pt") as file:
        return file.metadata() or {}, {name: file.get_tensor(name) for name in _TENSORS}


def _whole(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """The same from one reading: mapping opens the file twice, and another process may rename its own in between."""
    content = path.read_bytes()
    tensors = load(content)
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    return header.get("__metadata__", {}), {name: tensors[name] for name in _TENSORS}
