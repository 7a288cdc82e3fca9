"""Frame tokens that are asked about again, kept in host memory up to a number of bytes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable

from modules.mllms.base import FrameTokens


class KeptFrames:
    """Frames of the videos that were used last. A row's tokens go to the model's device when the row is asked.

    Args:
        max_mib: of host memory; a video that alone has more is not kept.
    """

    def __init__(self, max_mib: int) -> None:
        self.max_bytes = max_mib * 2**20
        self.num_bytes = 0
        self._kept: OrderedDict[Hashable, FrameTokens] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, video: Hashable) -> FrameTokens | None:
        """A video's frames, if they are kept still."""
        if video in self._kept:
            self._kept.move_to_end(video)
        return self._kept.get(video)

    def put(self, video: Hashable, frames: FrameTokens) -> FrameTokens:
        """Keeps a video's frames in place of those not used for longest; gives them back as they lie on the host."""
        frames = FrameTokens(frames.tokens.cpu(), frames.timestamps_s.cpu())
        if frames.tokens.nbytes > self.max_bytes:
            return frames
        if video in self._kept:
            self.num_bytes -= self._kept.pop(video).tokens.nbytes
        while self.num_bytes + frames.tokens.nbytes > self.max_bytes:
            self.num_bytes -= self._kept.popitem(last=False)[1].tokens.nbytes
        self._kept[video] = frames
        self.num_bytes += frames.tokens.nbytes
        return frames
