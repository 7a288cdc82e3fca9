"""The feature store: one entry per video and encoder, shared by every question on the video and by every process.

An entry is a sealed file (`datamodules.video.sealed`) of the features, frame ids and times. One whose key or checksum
does not match is refused and made again.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from datamodules.video.sealed import path_of, seal, unseal
from modules.records import Candidates


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
        return path_of(self.root / encoder_key, video, self.grid)

    def has(self, video: str, encoder_key: str) -> bool:
        """Whether a whole, matching entry is there. Reads the header and checks the sum."""
        return self._load(video, encoder_key, verify=True) is not None

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
        candidates = entry.candidates
        tensors = {
            "features": entry.features,
            "frame_ids": candidates.frame_ids,
            "timestamps_s": candidates.timestamps_s,
        }
        told = {
            "duration_s": repr(candidates.duration_s),
            "num_video_frames": str(candidates.num_video_frames),
            "decoder": candidates.decoder,
        }
        seal(self.path(video, encoder_key), tensors, self._made_under(encoder_key), told)

    def _made_under(self, encoder_key: str) -> dict[str, str]:
        return {"key": encoder_key, "grid": self.grid}

    def _load(self, video: str, encoder_key: str, verify: bool) -> Entry | None:
        sealed = unseal(self.path(video, encoder_key), self._made_under(encoder_key), verify)
        if sealed is None:
            return None
        tensors, told = sealed
        candidates = Candidates(
            video,
            tensors["frame_ids"],
            tensors["timestamps_s"],
            float(told["duration_s"]),
            int(told["num_video_frames"]),
            told["decoder"],
        )
        return Entry(candidates, tensors["features"])
