"""Entries that Kairos named by path and time of a video before it named them by content: used on as they are."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path

from datamodules.video.sighting import Sighting

_NAME_BYTES = 120


def adopt(entry: Path, seen: Sighting, more: str) -> None:
    """Gives an earlier entry of a video its present name as well, where there is one and none has that name.

    Both names stay (a hard link takes no room), so that a run of an earlier version that is still going finds its own;
    `lightning cache gc` removes the earlier one.

    Args:
        entry: the present place.
        seen: the video.
        more: what belongs to the name beside it.
    """
    if not entry.exists():
        with suppress(OSError):  # there is none, or the file system has no links: it is made anew
            os.link(entry.with_name(_name(seen, more)), entry)


def _name(seen: Sighting, more: str) -> str:
    known = f"{seen.path}|{seen.num_bytes}|{seen.mtime_ns}|{more}"
    digest = hashlib.sha256(os.fsencode(known)).hexdigest()[:20]
    stem = "".join(c if c.isprintable() else "_" for c in Path(seen.path).stem)
    stem = stem.encode(errors="replace")[:_NAME_BYTES].decode(errors="ignore")
    return f"{stem}-{digest}.safetensors"
