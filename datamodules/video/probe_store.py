"""What files hold, read once: the packet tables of videos beside their features.

Reading all packets of a nine-hour file takes longer than decoding eight frames of it, and no file changes between two
steps. So what a probe found is stored below the feature store's folder, and whoever decodes later hands it to the
worker. A file whose content was replaced misses, and is probed again; a copy elsewhere does not.
"""

from __future__ import annotations

import dataclasses
import json
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from datamodules.video.earlier_entries import adopt
from datamodules.video.packet_table import PacketTable
from datamodules.video.sealed import path_of, seal, unseal
from datamodules.video.sighting import Sighting
from datamodules.video.sightings import sightings_of
from datamodules.video.video_info import BadVideoError, VideoInfo

PROBE_VERSION = "2"
"""Of how packets are read; a new one makes all tables anew."""
_KEPT = 64


class ProbeStore:
    """Probed files below a folder; the last few stay in memory. Safe with several threads and processes.

    Args:
        root: the feature store's folder.
    """

    def __init__(self, root: Path) -> None:
        self.folder = root / "probes"
        self._sightings = sightings_of(root.absolute())
        self._recent: OrderedDict[Path, VideoInfo] = OrderedDict()
        self._lock = threading.Lock()

    def content(self, video: str) -> str:
        """What the file holds, as `datamodules.video.content` names it.

        Raises:
            BadVideoError: it cannot be read, and this process has not seen it before.
        """
        return self._sightings.of(video).content

    def load(self, video: str) -> VideoInfo | None:
        """What the file holds, or held when it was seen last; None where that is not stored."""
        try:
            seen = self._sightings.of(video)
        except BadVideoError:  # whoever opens it will say why
            return None
        path = path_of(self.folder, seen.content)
        with self._lock:
            if path in self._recent:
                self._recent.move_to_end(path)
                return _as_seen(self._recent[path], video, seen)
        adopt(path, seen, "")
        sealed = unseal(path, {"probe": PROBE_VERSION}, verify=True)
        return None if sealed is None else _as_seen(self._remember(path, _info(video, *sealed)), video, seen)

    def save(self, info: VideoInfo) -> None:
        """Stores what a file holds, atomically."""
        seen = self._sightings.of(info.path)
        path = path_of(self.folder, seen.content)
        told = {"plain": json.dumps(_plain(info)), "seen": seen.to_json()}
        seal(path, _arrays(info), {"probe": PROBE_VERSION}, told)
        self._remember(path, info)

    def _remember(self, path: Path, info: VideoInfo) -> VideoInfo:
        with self._lock:
            self._recent[path] = info
            if len(self._recent) > _KEPT:
                self._recent.popitem(last=False)
        return info


def _as_seen(info: VideoInfo, video: str, seen: Sighting) -> VideoInfo:
    """What is known of equal content, of this file: it has another path, and was written at another time."""
    return dataclasses.replace(info, path=video, num_bytes=seen.num_bytes, changed_ns=seen.mtime_ns)


def _columns(info: VideoInfo) -> dict[str, Any]:
    """Every field of a file's description and of its packet table, by name."""
    own = {f"info.{f.name}": getattr(info, f.name) for f in dataclasses.fields(info) if f.name not in ("path", "table")}
    return own | {f"table.{f.name}": getattr(info.table, f.name) for f in dataclasses.fields(info.table)}


def _arrays(info: VideoInfo) -> dict[str, torch.Tensor]:
    arrays = {name: value for name, value in _columns(info).items() if isinstance(value, np.ndarray)}
    return {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in arrays.items()}


def _plain(info: VideoInfo) -> dict[str, Any]:
    return {name: value for name, value in _columns(info).items() if not isinstance(value, np.ndarray)}


def _info(video: str, tensors: dict[str, torch.Tensor], told: dict[str, str]) -> VideoInfo:
    columns = json.loads(told["plain"]) | {name: tensor.numpy() for name, tensor in tensors.items()}
    table, own = (
        {name.removeprefix(part): value for name, value in columns.items() if name.startswith(part)}
        for part in ("table.", "info.")
    )
    return VideoInfo(path=video, table=PacketTable(**table), **own)
