"""Frames that a step asks for, and what happens when a file cannot be decoded then."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

from torch import Tensor

from datamodules.questions.bad_videos import BadVideos
from datamodules.video.frame_reader import FrameReader
from datamodules.video.video_info import BadVideoError
from modules.records import Candidates

_log = logging.getLogger(__name__)
_PREFETCH_SHARE = 1 / 8
"""Where fewer of the candidates can be asked for, none is prefetched. Encoders of video make groups of pictures of 8 to
10 seconds, so at 1 fps one candidate in eight already takes decoding most of the file."""


class StepFrames:
    """Decodes what a step shows, and prefetches what the next one will show.

    Args:
        reader: decodes.
        bad_videos: files that cannot be read; those found here are added.
    """

    def __init__(self, reader: FrameReader, bad_videos: BadVideos) -> None:
        self.reader, self.bad_videos = reader, bad_videos

    def of(self, asked: Sequence[tuple[Candidates, Tensor]]) -> Iterator[Tensor | None]:
        """Frames of several questions, one after another, while their files are decoded side by side.

        Args:
            asked: candidates of each question, and increasing indices (N,) into them.

        Yields:
            uint8 (N, 3, H, W); those of other files than the question's own are resized to the size of its frames (a
            needle among clips). None where a file cannot be decoded, though it could be when features were made: it is
            named and counted, and not tried again.

        Raises:
            BadVideoError: in the place of None, under ``on_bad_video: raise``.
        """
        bad = [self._is_bad(candidates) for candidates, _ in asked]
        frames = self.reader.read_many([one for one, known in zip(asked, bad, strict=True) if not known])
        for known in bad:
            found = None if known else next(frames)
            if isinstance(found, BadVideoError) and self.bad_videos.note(found):
                _log.warning("%s; it was read before. What asks for its frames gets none from here on", found)
            yield found if isinstance(found, Tensor) else None

    def prefetch(self, questions: Sequence[Candidates], frames_per_question: int) -> None:
        """Begins to decode all candidates of questions that come next, where enough of them may be asked for.

        Args:
            questions: candidates of each.
            frames_per_question: how many will be asked for at most; 0 prefetches nothing.
        """
        if not frames_per_question:
            return
        worth_it = [c for c in questions if frames_per_question >= _PREFETCH_SHARE * len(c) > 0]
        self.reader.prefetch([c for c in worth_it if not self._is_bad(c)])

    def _is_bad(self, candidates: Candidates) -> bool:
        return any(video in self.bad_videos for video in (candidates.sources or (candidates.video,)))
