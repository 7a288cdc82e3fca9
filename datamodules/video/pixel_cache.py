"""Decoded frames on the host, by file and frame: at most so many bytes, the least recently used given up first."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence

from torch import Tensor


class PixelCache:
    """Safe with several threads.

    Args:
        limit_mib: of all frames together; 0 keeps none.
    """

    def __init__(self, limit_mib: int) -> None:
        self.limit_bytes, self.num_bytes = limit_mib * 2**20, 0
        self.num_hits = self.num_misses = 0
        self._frames: OrderedDict[tuple[str, int], Tensor] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, video: str, frame_ids: Sequence[int]) -> dict[int, Tensor]:
        """Those of the frames that are here, uint8 (H, W, 3) each; counts hits and misses."""
        with self._lock:
            found = {i: self._frames[video, i] for i in frame_ids if (video, i) in self._frames}
            for i in found:
                self._frames.move_to_end((video, i))
            self.num_hits += len(found)
            self.num_misses += len(frame_ids) - len(found)
        return found

    def missing(self, video: str, frame_ids: Sequence[int]) -> list[int]:
        """Those of the frames that are not here; counts nothing."""
        with self._lock:
            return [i for i in frame_ids if (video, i) not in self._frames]

    def put(self, video: str, frame_ids: Sequence[int], frames: Tensor) -> None:
        """Keeps frames uint8 (N, H, W, 3), each in memory of its own, so that giving up one frees it."""
        for i, frame in zip(frame_ids, frames, strict=True):
            self._put((video, i), frame)

    def _put(self, key: tuple[str, int], frame: Tensor) -> None:
        if frame.nbytes > self.limit_bytes:
            return
        frame = frame.clone()
        with self._lock:
            old = self._frames.pop(key, None)
            self.num_bytes += frame.nbytes - (0 if old is None else old.nbytes)
            self._frames[key] = frame
            while self.num_bytes > self.limit_bytes:
                self.num_bytes -= self._frames.popitem(last=False)[1].nbytes
