"""Asking an MLLM outside of the trainer: about evenly spaced frames of a file."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor

from datamodules.video.decode_pool import DecodeWorker, ReadRequest
from modules.mllms.base import MLLM, FrameTokens, Row
from modules.mllms.kept_frames import KeptFrames
from modules.records import VideoQuestion
from modules.selection.even_spacing import evenly_spaced

_KEPT_MIB = 2048


_SUFFIXES = (".mp4", ".mkv", ".webm", ".avi", ".mov")


def videos_below(folder: Path) -> list[str]:
    """All files below a folder that have a video's name, in order."""
    return sorted(str(path) for path in folder.rglob("*") if path.suffix.lower() in _SUFFIXES and path.is_file())


def by_video(questions: Iterable[VideoQuestion]) -> list[tuple[str, list[VideoQuestion]]]:
    """Each video, in the order of their names, with the questions about it, so that it is decoded once."""
    ordered = sorted(questions, key=lambda q: q.video)
    return [(video, list(group)) for video, group in itertools.groupby(ordered, lambda q: q.video)]


class Clips:
    """Evenly spaced frames of video files, decoded once and kept on the host while there is room.

    Args:
        mllm: that will be asked.
        num_frames: of each file at most.
        short_side_px: shrink frames to this.
    """

    def __init__(self, mllm: MLLM, num_frames: int, short_side_px: int | None) -> None:
        self.mllm, self.num_frames, self.short_side_px = mllm, num_frames, short_side_px
        self._worker = DecodeWorker()
        self._kept, self._durations_s = KeptFrames(_KEPT_MIB), dict[str, float]()

    def duration_s(self, video: str) -> float:
        """Of a file."""
        return self.load(video)[1]

    def row(self, question: VideoQuestion, video: str, num_frames: int | None = None) -> Row:
        """A question on a file's frames; on ``num_frames`` of them, evenly spaced."""
        tokens, duration_s = self.load(video)
        size = len(tokens.timestamps_s)
        index = evenly_spaced(size, min(size, num_frames or size))
        return Row(dataclasses.replace(question, duration_s=duration_s), tokens, index)

    def right(self, question: VideoQuestion, video: str, num_frames: int | None = None) -> bool:
        """Whether the MLLM answers right on a file's frames; no answer is wrong."""
        scores = self.mllm.score_rows([self.row(question, video, num_frames)])[0]
        return bool(scores.max() > -torch.inf) and int(scores.argmax()) == question.answer_index

    def close(self) -> None:
        """Ends the decoder."""
        self._worker.stop()

    def load(self, video: str) -> tuple[FrameTokens, float]:
        """The frames of a file, and its duration in seconds."""
        tokens = self._kept.get(video)
        if tokens is None:
            frames, times = self.decode(video)
            tokens = self._kept.put(video, FrameTokens(self.mllm.encode_frames(frames), times))
        return tokens, self._durations_s[video]

    def decode(self, video: str) -> tuple[Tensor, Tensor]:
        """The frames of a file, uint8 (K, 3, H, W), and their seconds (K,).

        Raises:
            BadVideoError: it cannot be read.
        """
        info = self._worker.probe(video)
        frame_ids = evenly_spaced(info.num_frames, min(self.num_frames, info.num_frames)).numpy()
        request = ReadRequest(video, tuple(frame_ids.tolist()), short_side_px=self.short_side_px)
        frames = torch.from_numpy(self._worker.read(request)[2]).permute(0, 3, 1, 2)
        self._durations_s[video] = info.duration_s
        return frames, torch.from_numpy(info.timestamps_s[frame_ids]).float()
