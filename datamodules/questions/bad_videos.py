"""The videos of a data set that cannot be read: named, counted and left out, or the end of the run."""

from __future__ import annotations

from collections.abc import Sequence

from datamodules.video.decoding_settings import OnBadVideo
from datamodules.video.video_file import BadVideoError
from modules.distributed.ranks import exchange


class BadVideos(dict[str, str]):
    """File -> why it cannot be read.

    Args:
        on_bad_video: ``skip`` leaves such a file out; ``raise`` stops at it.
    """

    def __init__(self, on_bad_video: OnBadVideo) -> None:
        super().__init__()
        self.on_bad_video = on_bad_video

    def note(self, error: BadVideoError) -> bool:
        """Takes down a file that cannot be read; whether it was new.

        Raises:
            BadVideoError: under ``raise``.
        """
        if self.on_bad_video == "raise":
            raise error
        is_new = error.path not in self
        self[error.path] = error.reason
        return is_new

    def others_than_these(self, videos: Sequence[str]) -> list[str]:
        """The videos that are not known to be bad."""
        return [video for video in videos if video not in self]

    def share(self) -> None:
        """Gives every rank what any rank found, in the same order; all ranks call it."""
        everywhere = exchange(dict(self))
        self.clear()
        for found in everywhere:
            self.update(found)
