"""Where a report has pictures of frames from; `datamodules.video.thumbnails` is the one that reads video files."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class FramesOfVideo:
    """Frames of one video that are to be shown."""

    video: str
    """Its path as the run has it."""
    places: tuple[Path, ...]
    """Folders that a relative path may start from, the most likely first."""
    frame_ids: tuple[int, ...]
    """Positions in the file, increasing, each once."""
    num_video_frames: int = 0
    """That the file had in the run; 0 where nobody knows."""


class PictureSource(ABC):
    """Makes small pictures."""

    @abstractmethod
    def pictures(self, wanted: Sequence[FramesOfVideo]) -> Iterator[dict[int, bytes] | ValueError]:
        """For each video its frames as WebP files by frame id, or why there are none."""
