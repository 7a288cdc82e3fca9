"""Which content each video has, remembered beside the features, so that an unchanged file is read once and not at every
start; and for whoever cleans up, where each content was seen.

One small file for each path, replaced as a whole: many processes and nodes may write it at once, and it is only ever a
memory of what can be read again. While a process uses it, it holds the lock that keeps `lightning cache gc` away.
"""

from __future__ import annotations

import functools
import hashlib
import logging
import os
from pathlib import Path

from datamodules.video.in_use import hold
from datamodules.video.sighting import NOTES, Sighting
from datamodules.video.video_file import BadVideoError, status_of
from modules.files.whole_files import StorageError, write_whole

_log = logging.getLogger(__name__)


class Sightings:
    """Videos that were seen; safe with several threads and processes.

    Args:
        root: the feature store's folder.
    """

    def __init__(self, root: Path) -> None:
        self.root, self.folder = root, root / NOTES
        self._known: dict[str, Sighting] = {}
        self._writable = True

    def of(self, video: str) -> Sighting:
        """A file as it is now; of one that has vanished, as this process saw it last: its features are still true.

        Raises:
            BadVideoError: it cannot be read, and was never seen.
        """
        hold(self.root)
        path = os.path.abspath(video)
        known = self._known.get(path)
        try:
            status = status_of(video)
        except BadVideoError:
            if known is not None:
                return known
            raise
        known = known or self._read(path)
        if known is None or not known.matches(status):
            try:
                known = Sighting.of(path, status)
            except OSError as error:
                raise BadVideoError(video, error.strerror or str(error)) from error
            self._write(known)
        self._known[path] = known
        return known

    def _file(self, path: str) -> Path:
        return self.folder / f"{hashlib.sha256(os.fsencode(path)).hexdigest()[:32]}.json"

    def _read(self, path: str) -> Sighting | None:
        try:
            found = Sighting.from_json(self._file(path).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return found if found.path == path else None

    def _write(self, sighting: Sighting) -> None:
        if not self._writable:
            return
        try:
            write_whole(self._file(sighting.path), "note of a video", sighting.to_json())
        except StorageError as error:
            self._writable = False
            _log.info("videos will be read again at the next start: %s", error)


@functools.cache
def sightings_of(root: Path) -> Sightings:
    """This process's memory of the videos of one feature store."""
    return Sightings(root)
