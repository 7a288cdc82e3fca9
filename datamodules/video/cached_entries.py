"""What lies in feature stores, and which of it nobody can use again; reads headers only, and needs no torch.

An entry is an orphan where every place at which its content was seen is gone (`Standing.GONE`): the video was removed
or replaced. A place that nobody can judge, because its disk is not mounted or another machine saw it, keeps the entry.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datamodules.video.sighting import NOTES, Sighting, Standing

_NAME = re.compile(r"([0-9a-f]{32})(-[0-9a-f]{12})?\.safetensors")
_PARTIAL = re.compile(r"[0-9a-f]{16}\.partial")
_MOST_HEADER_BYTES = 100 * 2**20
_SECOND_NAME = "an earlier version's second name, which takes no room"
_ABANDONED_S = 3600.0
_DAY_S = 86400.0


@dataclass(frozen=True)
class Cached:
    """One file of a feature store.

    Args:
        path: of the file.
        num_bytes: that its removal gives back.
        unused_s: since a run used it last, to a day.
        encoder: whose features it holds; ``packet table`` of what a file holds.
        grid: how candidates were chosen.
        places: where its content was seen, newest last.
        reason: why it is of no use; empty where it may be.
    """

    path: Path
    num_bytes: int
    unused_s: float
    encoder: str
    grid: str
    places: tuple[Sighting, ...]
    reason: str

    @property
    def video(self) -> str:
        """Where its video was seen last; ``?`` of an entry of an earlier version, which does not tell."""
        return self.places[-1].path if self.places else "?"


def stores_below(folder: Path) -> list[Path]:
    """Feature stores in a folder, at any depth; links to folders are followed."""
    found, visited = [], set()
    for place, folders, _ in os.walk(folder, followlinks=True):
        status = os.stat(place)
        if (status.st_dev, status.st_ino) in visited:
            folders.clear()
            continue
        visited.add((status.st_dev, status.st_ino))
        if NOTES in folders or any(Path(place, "probes").glob("*.safetensors")):  # the latter of an earlier version
            found.append(Path(place))
            folders.clear()
    return sorted(found)


def entries_of(store: Path) -> list[Cached]:
    """All entries of a feature store, what killed writers have left, and notes on videos that are gone."""
    seen = _Seen(store)
    files = sorted(path for path in store.rglob("*") if path.is_file())
    return [cached for path in files if (cached := _cached(path, seen)) is not None]


class _Seen:
    """Where contents were seen, and what has become of each place, looked at once."""

    def __init__(self, store: Path) -> None:
        self.places: dict[str, list[Sighting]] = defaultdict(list)
        for path in (store / NOTES).glob("*.json"):
            if (sighting := _sighting(path)) is not None:
                self.places[sighting.content].append(sighting)
        self._standing: dict[tuple[str, str], Standing] = {}

    def standing(self, place: Sighting) -> Standing:
        known = (place.path, place.content)
        if known not in self._standing:
            self._standing[known] = place.standing()
        return self._standing[known]


def _cached(path: Path, seen: _Seen) -> Cached | None:
    """What a file of a store is; None for a stranger's, and for the note on a video that may be there."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return None
    unused_s = time.time() - status.st_mtime

    def described(reason: str, encoder: str = "", grid: str = "", places: tuple[Sighting, ...] = ()) -> Cached:
        num_bytes = 0 if reason == _SECOND_NAME else status.st_size
        return Cached(path, num_bytes, unused_s, encoder or path.parent.name, grid, places, reason)

    if _PARTIAL.fullmatch(path.name):
        return described("a writer that has ended left it unfinished") if unused_s > _ABANDONED_S else None
    if path.parent.name == NOTES and path.suffix == ".json":
        place = _sighting(path)
        gone = place is not None and seen.standing(place) is Standing.GONE
        return described("a note on a video that is gone", "note", "", (place,)) if place and gone else None
    if path.suffix != ".safetensors":
        return None
    known = _NAME.fullmatch(path.name)
    header = _header(path)
    if header is None:
        return described("it is damaged") if known else None
    if not {"format", "checksums"} <= header.keys():
        return None
    encoder, grid = header.get("key", "packet table"), header.get("grid", "")
    if known is None:
        linked = status.st_nlink > 1
        return described(_SECOND_NAME if linked else "", encoder, grid)
    places = _places(header, known[1], seen)
    gone = bool(places) and all(seen.standing(place) is Standing.GONE for place in places)
    return described("its video is gone" if gone else "", encoder, grid, places)


def _places(header: dict[str, Any], content: str, seen: _Seen) -> tuple[Sighting, ...]:
    """Where the content of an entry was seen, by what was noted of videos and by the entry itself."""
    places = {place.path: place for place in seen.places[content]}
    try:
        made = Sighting.from_json(header.get("seen", ""))
    except ValueError:  # of an earlier version
        made = None
    if made is not None and made.content == content:
        places.setdefault(made.path, made)
    return tuple(sorted(places.values(), key=lambda place: place.read_ns))


def _sighting(path: Path) -> Sighting | None:
    try:
        return Sighting.from_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _header(path: Path) -> dict[str, str] | None:
    """What a safetensors file tells of itself; None where it is none."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            told = json.loads(file.read(length))["__metadata__"] if length < _MOST_HEADER_BYTES else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    texts = isinstance(told, dict) and all(isinstance(value, str) for value in told.values())
    return told if texts else None


def unused(entries: list[Cached], older_than_days: float | None) -> Iterator[tuple[Cached, str]]:
    """Entries to remove, with the reason of each.

    Args:
        entries: of a store.
        older_than_days: also those that no run has used for so long, whatever has become of their videos.
    """
    for entry in entries:
        if entry.reason:
            yield entry, entry.reason
        elif older_than_days is not None and entry.unused_s > older_than_days * _DAY_S:
            yield entry, f"not used for {entry.unused_s / _DAY_S:.0f} days"
