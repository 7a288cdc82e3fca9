"""One pass over many videos that reads what they hold, without decoding them."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

from datamodules.video.decoding_settings import OnBadVideo
from datamodules.video.frame_reader import FrameReader
from datamodules.video.progress import SharedProgress
from datamodules.video.video_info import BadVideoError
from modules.distributed.ranks import SharedWork

_log = logging.getLogger(__name__)


def probe_all(videos: Sequence[str], reader: FrameReader, on_bad_video: OnBadVideo) -> dict[str, str]:
    """Stores what each video holds that is not probed yet, shared out over all ranks.

    Args:
        videos: files, each named once; the same on all ranks.
        reader: that probes them, several at a time.
        on_bad_video: ``raise`` stops at the first.

    Returns:
        The files that cannot be read, with the reason, of all ranks, in the order of the videos.

    Raises:
        BadVideoError: under ``raise``; on ranks that did not read the file, `modules.distributed.ranks.RankError`.
    """
    bad: dict[str, str] = {}

    def unknown() -> Iterator[str]:
        for video in (videos[n] for n in work):
            if reader.probes.load(video) is None:
                yield video
            else:
                progress.count_video()

    with SharedWork(len(videos)) as work, SharedProgress("Probing videos", work) as progress:
        for video, found in reader.info_many(unknown()):
            if isinstance(found, BadVideoError):
                if on_bad_video == "raise":
                    raise found
                _log.warning("%s", found)
                bad[video] = found.reason
            progress.count_video()
        parts = work.finish(bad, progress.show)
    every = {video: reason for part in parts for video, reason in part.items()}
    return {video: every[video] for video in videos if video in every}
