"""The feature store: one entry per content of a video and encoder, shared by all questions on it and by all processes.

A video is known by its content (`datamodules.video.content`), not by its place, so that a folder that is copied or
moved keeps its features, and equal files share them. An entry is a sealed file (`datamodules.video.sealed`) of the
features, frame ids and times. One whose key or checksum does not match is refused and made again.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from datamodules.video.earlier_entries import adopt
from datamodules.video.sealed import path_of, seal, unseal
from datamodules.video.sighting import Sighting
from datamodules.video.sightings import sightings_of
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
        """Where the entry of a video lies, by its content, so a replaced video misses.

        Raises:
            BadVideoError: the video cannot be read, and this process has not seen it before.
        """
        return self._path(self._seen(video), encoder_key)

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
        for name in ("clip_frame_ids", "clip_times_s"):
            if (of_clips := getattr(candidates, name)) is not None:
                tensors[name] = of_clips
        told = {
            "duration_s": repr(candidates.duration_s),
            "num_video_frames": str(candidates.num_video_frames),
            "decoder": candidates.decoder,
            "seen": (seen := self._seen(video)).to_json(),
        }
        seal(self._path(seen, encoder_key), tensors, self._made_under(encoder_key), told)

    def _seen(self, video: str) -> Sighting:
        return sightings_of(self.root.absolute()).of(video)

    def _path(self, seen: Sighting, encoder_key: str) -> Path:
        return path_of(self.root / encoder_key, seen.content, self.grid)

    def _made_under(self, encoder_key: str) -> dict[str, str]:
        return {"key": encoder_key, "grid": self.grid}

    def _load(self, video: str, encoder_key: str, verify: bool) -> Entry | None:
        seen = self._seen(video)
        path = self._path(seen, encoder_key)
        adopt(path, seen, self.grid)
        sealed = unseal(path, self._made_under(encoder_key), verify)
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
            clip_frame_ids=tensors.get("clip_frame_ids"),
            clip_times_s=tensors.get("clip_times_s"),
        )
        return Entry(candidates, tensors["features"])
