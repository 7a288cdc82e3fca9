"""Files that appear whole or not at all; and, where there is no room or no right to write them, why in one sentence."""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NO_RIGHT = (errno.EROFS, errno.EACCES, errno.EPERM)
_ABANDONED_S = 3600.0


class StorageError(OSError):
    """A place that is full, or may not be written to; its text is the whole story."""


@contextmanager
def appearing(path: Path, what: str, partial: str | None = None) -> Iterator[Path]:
    """A place beside ``path``, whose folder is made; what is written there is renamed to ``path`` at the end.

    Args:
        path: of the file or folder; one that is there is replaced.
        what: it is, for the message.
        partial: the name of that place; one of its own for each thread, process and node by default.

    Raises:
        StorageError: there was no room or no right; nothing half-written stays.
    """
    place = path.with_name(partial or f"{secrets.token_hex(8)}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield place
        give_usual_mode(place)
        if place.is_dir() and path.is_dir():
            shutil.rmtree(path)
        os.replace(place, path)
    except BaseException as error:
        reason = _reason(error, place) if isinstance(error, Exception) else None
        with suppress(OSError):
            shutil.rmtree(place) if place.is_dir() else place.unlink(missing_ok=True)
        if reason is not None:
            raise StorageError(f"{what} {path} could not be written: {reason}") from error
        raise


def write_whole(path: Path, what: str, content: str) -> None:
    """Writes a text file, so that nobody ever reads half of it; arguments and errors as of `appearing`."""
    with appearing(path, what) as place:
        place.write_text(content, encoding="utf-8", newline="")


def give_usual_mode(place: Path) -> None:
    """Lets others read what a library made for its owner alone, as far as they may read any new file here.

    safetensors does so, and whoever shares a folder of features or weights with colleagues could not read theirs.

    Args:
        place: a file, or a folder with files.
    """
    files = [place] if place.is_file() else [f for f in place.rglob("*") if f.is_file() and not f.is_symlink()]
    private = [path for path in files if not path.stat().st_mode & 0o077]
    if private:
        probe = place.with_name(f"{secrets.token_hex(8)}.partial")
        probe.touch()
        mode = probe.stat().st_mode & 0o777
        probe.unlink()
        for path in private:
            path.chmod(mode)


def storage_reason(error: BaseException) -> str | None:
    """What a raw ``OSError`` of a full or a read-only place means and what to do; None for any other error."""
    if isinstance(error, StorageError) or not isinstance(error, OSError):
        return None
    place = Path(str(error.filename)) if error.filename else None
    reason = _told(error.errno, place)
    return reason and f"{place or 'a file of this run'} could not be written: {reason}"


def sweep(folder: Path) -> None:
    """Removes what runs that were killed have left below a folder: partial files untouched for an hour."""
    remove_abandoned(folder.rglob("*.partial"))


def remove_abandoned(places: Iterable[Path]) -> None:
    """Removes those files and folders that nobody has touched for an hour."""
    oldest = time.time() - _ABANDONED_S
    for place in places:
        with suppress(OSError):  # another process has removed it, or it is not ours to remove
            if place.stat().st_mtime < oldest:
                shutil.rmtree(place) if place.is_dir() else place.unlink()


def _reason(error: Exception, place: Path) -> str | None:
    """Why a file could not be written; of libraries that do not hand on the cause, the disk itself is asked again."""
    said = re.search(r"\(os error (\d+)\)", str(error))  # safetensors
    number = error.errno if isinstance(error, OSError) else int(said[1]) if said else None
    if number not in (*_NO_ROOM, *_NO_RIGHT) and os.path.exists(place):
        try:
            with (place / "probe" if place.is_dir() else place).open("ab", buffering=0) as file:
                file.write(bytes(2**20))
        except OSError as again:
            number = again.errno
    return _told(number, place)


def _told(number: int | None, place: Path | None) -> str | None:
    folder = next((f for f in place.absolute().parents if os.path.isdir(f)), None) if place else None
    where = folder or "its folder"
    if number in _NO_ROOM:
        left = ""
        if folder is not None:
            usage = shutil.disk_usage(folder)
            left = f" ({usage.free / 2**20:.1f} of {usage.total / 2**20:.0f} MiB free)"
        full = (
            "the limit of file sizes is reached"
            if number == errno.EFBIG
            else f"no space is left for it in {where}{left}"
        )
        return f"{full}. Make room or name another folder, then run the same command again; what is whole is kept"
    if number in _NO_RIGHT:
        kind = "is on a read-only file system" if number == errno.EROFS else f"may not be written to by {_user()}"
        return f"{where} {kind}. Name a folder that may be written to, or change its mode"
    return None


def _user() -> str:
    return f"user {os.geteuid()}" if hasattr(os, "geteuid") else "this user"
