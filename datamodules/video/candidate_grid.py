"""How the candidates of a video are chosen: so many a second, at most so many."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from datamodules.video.decode_pool import ReadRequest
from datamodules.video.video_info import VideoInfo, grid_of


@dataclass(frozen=True)
class CandidateGrid:
    """A regular grid in time.

    Args:
        fps: candidates per second of video.
        max_candidates: at most so many; longer videos are sampled more sparsely.
    """

    fps: float = 1.0
    max_candidates: int | None = None

    @property
    def key(self) -> str:
        """Names the grid in the feature store."""
        return f"fps={self.fps:g},max={self.max_candidates}"

    @property
    def request(self) -> ReadRequest:
        """What a decoder is asked for; the path is still to be filled in."""
        return ReadRequest("", None, self.fps, self.max_candidates)

    def frame_ids(self, info: VideoInfo) -> np.ndarray:
        """int64 (T,), the frames of a video that was probed."""
        return grid_of(info.timestamps_s, info.duration_s, self.fps, self.max_candidates)
