"""The one folder below which clients may name videos, and no way out of it.

A name is walked part by part from the folder, and no part may be a link, so neither ``..`` nor a link nor an absolute
path leads anywhere else; what is reached has to be a regular file. Whoever may write below the folder is trusted.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from recipes.serving.request_errors import RequestError, bad_request, unreadable_video

_LONGEST = 1024
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class VideoRoot:
    """Finds videos below a folder.

    Args:
        folder: that clients may name videos in; None: in none.

    Raises:
        ValueError: it is no folder.
    """

    def __init__(self, folder: str | None) -> None:
        if folder is not None and not Path(folder).is_dir():
            raise ValueError(f"--video_root {folder}: no such folder")
        self.folder = None if folder is None else Path(folder).resolve()

    def find(self, name: str) -> Path:
        """The file of that name.

        Args:
            name: relative to the folder.

        Raises:
            RequestError: the name leads out of the folder, or to no regular file.
        """
        if self.folder is None:
            raise bad_request(
                "videos by path are not served here (--video_root names a folder); send it as a data: URL",
                "messages",
                "no_video_root",
            )
        parts = _parts_of(name)
        at = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for part in parts[:-1]:
                inner = _opened(at, part, name, os.O_DIRECTORY)
                os.close(at)
                at = inner
            file = _opened(at, parts[-1], name, 0)
        finally:
            os.close(at)
        try:
            mode = os.fstat(file).st_mode
        finally:
            os.close(file)
        if not stat.S_ISREG(mode):
            raise unreadable_video(repr(name[:200]), "it is no regular file")
        return self.folder.joinpath(*parts)


def _parts_of(name: str) -> list[str]:
    """The parts of a path that may be walked.

    Raises:
        RequestError: it may not.
    """
    shown = repr(name[:200])
    if len(name) > _LONGEST or "\0" in name:
        raise bad_request(f"the video {shown} is no path: too long, or with a NUL", "messages", "invalid_path")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith(("/", "~", "\\")) or ".." in parts or not parts:
        raise bad_request(
            f"the video {shown}: a path below the folder of videos, without a leading '/' and without '..'",
            "messages",
            "invalid_path",
        )
    return parts


def _opened(folder: int, part: str, name: str, flags: int) -> int:
    """One step, which is no link.

    Raises:
        RequestError: there is no such part, or it is a link.
    """
    shown = repr(name[:200])
    try:
        return os.open(part, _OPEN | flags, dir_fd=folder)
    except (OSError, ValueError) as error:
        code = getattr(error, "errno", None)
        if code == errno.ELOOP or (code == errno.ENOTDIR and _is_link(folder, part)):
            raise bad_request(
                f"the video {shown}: {part!r:.100} is a link, and links are not followed", "messages", "invalid_path"
            ) from None
        if code in (errno.ENOENT, errno.ENOTDIR):
            raise RequestError(404, f"there is no video {shown}", code="no_such_video", param="messages") from None
        reason = os.strerror(code) if code else "the name cannot be used"
        raise unreadable_video(shown, reason) from None


def _is_link(folder: int, part: str) -> bool:
    try:
        return stat.S_ISLNK(os.stat(part, dir_fd=folder, follow_symlinks=False).st_mode)
    except OSError:
        return False
