"""A video that was seen: where, when, and with what content. Tells later whether it is still there.

Imports neither torch nor PyAV, so that the command that lists caches starts fast.
"""

from __future__ import annotations

import dataclasses
import enum
import json
import os
import platform
import stat
import time
from dataclasses import dataclass
from pathlib import Path

from datamodules.video.content import content_of

NOTES = "known_videos"
"""The folder below a feature store's in which sightings are kept."""
_SETTLED_NS = 2 * 10**9
"""A file that was altered this recently may be altered again within one tick of its clock, so it is read again."""


class Standing(enum.Enum):
    """What has become of a video where it was seen."""

    HERE = "here"
    GONE = "gone"
    """Removed or replaced: the file system that it lay on is there, and the file is not."""
    UNKNOWN = "unknown"
    """Nobody can tell: another machine saw it, its disk is not mounted, or it may not be read."""


@dataclass(frozen=True)
class Sighting:
    """One file when its content was read."""

    path: str
    """Absolute."""
    content: str
    """As of `datamodules.video.content`."""
    num_bytes: int
    mtime_ns: int
    ctime_ns: int
    """When the file or what is known of it was altered last; no program can set it."""
    inode: int
    device: int
    """Number of the file system."""
    host: str
    read_ns: int
    """When it was read."""

    @classmethod
    def of(cls, path: str, status: os.stat_result) -> Sighting:
        """Reads a file's content.

        Raises:
            OSError: it cannot be read.
        """
        read_ns = time.time_ns()
        return cls(
            path=path,
            content=content_of(path),
            num_bytes=status.st_size,
            mtime_ns=status.st_mtime_ns,
            ctime_ns=status.st_ctime_ns,
            inode=status.st_ino,
            device=status.st_dev,
            host=platform.node(),
            read_ns=read_ns,
        )

    @classmethod
    def from_json(cls, text: str) -> Sighting:
        """Raises ValueError where the text is none."""
        try:
            sighting = cls(**json.loads(text))
        except TypeError as error:
            raise ValueError(f"no sighting of a video: {error}") from error
        fields = dataclasses.fields(cls)
        if any(type(getattr(sighting, field.name)).__name__ != field.type for field in fields):
            raise ValueError("no sighting of a video: a field has another type")
        return sighting

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self))

    def matches(self, status: os.stat_result) -> bool:
        """Whether a file is unaltered, so that it need not be read again."""
        now = (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
        unaltered = now == (self.num_bytes, self.mtime_ns, self.ctime_ns, self.inode)
        return unaltered and self.read_ns - self.ctime_ns > _SETTLED_NS

    def standing(self) -> Standing:
        """What has become of it."""
        try:
            status = os.stat(self.path)
            if self.matches(status):
                return Standing.HERE
            same = stat.S_ISREG(status.st_mode) and content_of(self.path) == self.content
            return Standing.HERE if same else Standing.GONE
        except (FileNotFoundError, NotADirectoryError):
            return Standing.GONE if self._file_system_is_there() else Standing.UNKNOWN
        except (OSError, ValueError):
            return Standing.UNKNOWN

    def _file_system_is_there(self) -> bool:
        """Whether what is left of its path leads to where it lay, rather than to an empty mount point."""
        if self.host != platform.node():
            return False
        place = Path(self.path)
        while not os.path.lexists(place):
            place = place.parent
        try:
            return place.is_dir() and place.stat().st_dev == self.device
        except OSError:
            return False
