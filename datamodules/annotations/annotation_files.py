"""The files that a row names: they lie inside the folder that the recipe gives, or the row is refused.

Looked at are the names alone, so a link inside the folder may lead anywhere: whoever gave the folder made it.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

_SUFFIXES = ("", ".mp4", ".MP4", ".mkv", ".webm", ".avi", ".mov")
_ELSEWHERE = re.compile(r"~|[A-Za-z]:[\\/]|[A-Za-z][A-Za-z0-9+.-]*://")
_MAX_BYTES, _MAX_PATH_BYTES = 255, 2048
"""Of one part of a path on the usual file systems, and of a whole name below a folder."""


def inside(folder: Path, name: str) -> Path:
    """A file of a folder.

    Args:
        folder: that may be read.
        name: below it, or as an absolute path that begins with it.

    Raises:
        ValueError: the name leads elsewhere (``..``, ``~``, another absolute path, a drive, a URL), or no file has it.
    """
    parts = [part for part in re.split(r"[\\/]", name) if part not in ("", ".")]
    if not parts or ".." in parts or _ELSEWHERE.match(name):
        raise ValueError(f"a file inside {folder}")
    sizes = [len(os.fsencode(part)) for part in parts]
    if "\0" in name or max(sizes) > _MAX_BYTES or sum(sizes) > _MAX_PATH_BYTES:
        raise ValueError(f"a file name, without NUL and of at most {_MAX_BYTES} bytes")
    if not name.startswith("/"):
        return folder / name
    for root in (folder, folder.absolute(), folder.resolve()):
        if Path(name).is_relative_to(root) and Path(name) != root:
            return folder / Path(name).relative_to(root)
    raise ValueError(f"a file inside {folder}")


def video_file(folder: Path, *names: str) -> str:
    """The video of one of these names, with any common suffix; the first's ``.mp4`` where none is there.

    Raises:
        ValueError: a name leads out of the folder, or no file can have it.
    """
    paths = [inside(folder, name) for name in names]
    for path in paths:
        for suffix in _SUFFIXES:
            found = path.with_name(path.name + suffix)
            if len(os.fsencode(found.name)) <= _MAX_BYTES and found.is_file():
                return str(found)
    return str(paths[0] if paths[0].suffix else paths[0].with_name(f"{paths[0].name}.mp4"))


def name_below(folder: Path, file: str) -> str:
    """A file's name below a folder, by which `inside` finds it again; an absolute path where it lies elsewhere."""
    path, root = Path(file).absolute(), folder.absolute()
    return str(path.relative_to(root) if path.is_relative_to(root) else path)
