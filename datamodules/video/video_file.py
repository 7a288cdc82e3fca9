"""A path that is said to be a video: whether it is a file at all, and FFmpeg's view of it.

What an annotation names may be anything: a folder, a device that never ends, a pipe that nobody writes to, a list of
other files. Only a regular file with pictures in it is opened.
"""

from __future__ import annotations

import os
import stat

import av

_LISTS = {"hls", "dash", "concat", "imf", "sdp", "rtsp"}
"""FFmpeg's names of formats whose pictures lie in other files."""
_NO_TIMESTAMPS = 0x80
"""FFmpeg's flag (AVFMT_NOTIMESTAMPS) of a format that stores none."""
_KINDS = {stat.S_IFDIR: "folder", stat.S_IFIFO: "pipe", stat.S_IFSOCK: "socket"}


class BadVideoError(ValueError):
    """A file that cannot be read as a video; carries the path and the reason."""

    def __init__(self, path: str, reason: str) -> None:
        name = path if path.isprintable() else repr(path)[1:-1]  # on one line, whatever characters a name has
        super().__init__(f"cannot read video {name}: {reason}")
        self.path, self.reason = path, reason

    def __reduce__(self) -> tuple:
        return (BadVideoError, (self.path, self.reason))


def status_of(path: str) -> os.stat_result:
    """Size, time and place of a regular file.

    Raises:
        BadVideoError: there is none, or the system refuses the name.
    """
    try:
        status = os.stat(path)
    except FileNotFoundError:
        raise BadVideoError(path, "no such file") from None
    except (OSError, ValueError) as error:  # a name too long, a loop of links, a null byte
        raise BadVideoError(path, getattr(error, "strerror", None) or str(error)) from None
    if not stat.S_ISREG(status.st_mode):
        kind = _KINDS.get(stat.S_IFMT(status.st_mode), "device")
        raise BadVideoError(path, f"it is a {kind}, not a file")
    return status


def open_file(path: str) -> av.container.InputContainer:
    """The file, whose name may look like an address and whose titles may be in any encoding.

    Raises:
        BadVideoError: it is a list of other files.
        av.error.FFmpegError: it cannot be opened.
    """
    container = av.open(f"file:{path}", metadata_errors="replace", options={"protocol_whitelist": "file"})
    if container.format.name in _LISTS:
        container.close()
        raise BadVideoError(path, f"it is a list of other files ({container.format.name}), not a video")
    return container


def has_times(container: av.container.InputContainer) -> bool:
    """Whether the format stores times; of a bare stream of pictures (.m1v, .obu) FFmpeg guesses them."""
    return not container.format.flags & _NO_TIMESTAMPS
