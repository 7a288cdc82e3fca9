"""One pass over many videos: each is decoded once and encoded once, whatever encoders and however many questions.

Resumable (what is stored already is left out), shared out to all ranks of a training
(`modules.distributed.ranks.SharedWork`) or to an array of jobs (`Shard`), and every failure is named with its reason at
the end.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from datamodules.video.decode_pool import Piece, ReadRequest, stream_many
from datamodules.video.decoding_settings import DecodingSettings, OnBadVideo
from datamodules.video.feature_store import Entry, FeatureStore
from datamodules.video.probe_store import ProbeStore
from datamodules.video.progress import SharedProgress
from datamodules.video.video_file import BadVideoError, status_of
from datamodules.video.video_info import VideoInfo
from datamodules.video.views import View
from modules.distributed.ranks import SharedWork
from modules.encoders.base import VideoReading
from modules.records import Candidates

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Shard:
    """Which share of the videos is this process's: number ``index`` of ``count``.

    The defaults read SLURM's array variables, and are the whole where there are none.
    """

    index: int | None = None
    count: int | None = None

    def __post_init__(self) -> None:
        if (self.index is None) != (self.count is None):
            raise ValueError("a shard needs index and count, or neither")
        if self.index is not None and self.count is not None and not 0 <= self.index < self.count:
            raise ValueError(f"shard {self.index} of {self.count}: the index goes from 0 to {self.count - 1}")

    def of(self, videos: Sequence[str]) -> list[str]:
        """Every count-th video from index on, so that long and short ones mix."""
        if self.index is not None and self.count is not None:
            return list(videos[self.index :: self.count])
        first = int(os.environ.get("SLURM_ARRAY_TASK_MIN", "0"))
        index = int(os.environ.get("SLURM_ARRAY_TASK_ID", first)) - first
        return list(videos[index :: int(os.environ.get("SLURM_ARRAY_TASK_COUNT", "1"))])


@dataclass
class Summary:
    """What a pass did, over all ranks."""

    num_videos: int = 0
    num_stored_before: int = 0
    num_frames: int = 0
    seconds: float = 0.0
    bad: dict[str, str] = field(default_factory=dict)
    """File -> why it could not be read; in the order of the videos."""

    @property
    def frames_per_s(self) -> float:
        return self.num_frames / self.seconds if self.seconds else 0.0


def extract(
    videos: Sequence[str],
    views: Sequence[View],
    store: FeatureStore,
    template: ReadRequest,
    decoding: DecodingSettings,
) -> Summary:
    """Stores what each encoder makes of the candidates of each video that is not stored yet.

    With several ranks each calls this with the same videos, works on those that no other has taken, and returns when
    all are through, with what all of them did.

    Args:
        videos: files, each named once.
        views: encoders of frames, which share a decoding.
        store: to read and fill.
        template: how candidates are chosen; its path and size are not looked at.
        decoding: how; encoding stays in this process, which holds the accelerator.

    Raises:
        BadVideoError: under ``on_bad_video: raise``; on ranks that did not read the file,
            `modules.distributed.ranks.RankError`.
    """
    started = time.perf_counter()
    with SharedWork(len(videos)) as work, SharedProgress("Decoding and encoding videos", work) as progress:
        own = _Pass(views, store, decoding.on_bad_video, progress)
        requests = own.requests(videos, template, work)
        with closing(stream_many(requests, decoding.num_workers, decoding.timeout_s)) as messages:
            for message in messages:
                if isinstance(message, Piece):
                    own.encode(message)
                else:
                    own.finish(message.request.path, message.error)
        parts = work.finish(dataclasses.asdict(own.summary), progress.show)
    summary = _merged(videos, parts)
    summary.seconds = time.perf_counter() - started
    if summary.bad:
        _log.warning("%d of %d videos cannot be read and are left out", len(summary.bad), len(videos))
    return summary


@dataclass
class _OpenVideo:
    """A video of which some pieces have come."""

    candidates: Candidates
    """All T of its frames that were asked for."""
    readings: list[VideoReading]
    """One an encoder."""
    info: VideoInfo
    is_new: bool
    """Whether it was not known before what the file holds."""
    num_frames: int = 0
    """That have come."""

    def next_times_s(self, count: int) -> Tensor:
        """float64 (count,), when the frames that come next were taken."""
        first, self.num_frames = self.num_frames, self.num_frames + count
        return self.candidates.timestamps_s[first : self.num_frames]


class _Pass:
    """This rank's part of an extraction."""

    def __init__(
        self, views: Sequence[View], store: FeatureStore, on_bad_video: OnBadVideo, progress: SharedProgress
    ) -> None:
        self.views, self.store, self.probes = views, store, ProbeStore(store.root)
        self.on_bad_video, self.progress, self.summary = on_bad_video, progress, Summary()
        self._open: dict[str, _OpenVideo] = {}
        """Videos of which some pieces have come."""

    def requests(self, videos: Sequence[str], template: ReadRequest, work: SharedWork) -> Iterator[ReadRequest]:
        """What is to be decoded of the videos that this rank takes, one after another as decoders become free."""
        for video in (videos[n] for n in work):
            try:
                status_of(video)
                stored = all(self.store.has(video, view.key) for view in self.views)
            except BadVideoError as error:
                self.finish(video, error)
                continue
            if stored:
                self.summary.num_stored_before += 1
                self.finish(video, None)
            else:
                yield dataclasses.replace(
                    template, path=video, short_side_px=self.views[0].decoded_px, info=self.probes.load(video)
                )

    def encode(self, piece: Piece) -> None:
        """Each encoder's features of some more frames."""
        path = piece.request.path
        if path not in self._open:
            readings = [view.encoder.reading() for view in self.views]
            self._open[path] = _OpenVideo(candidates_of(piece), readings, piece.info, piece.request.info is None)
        video = self._open[path]
        decoded = torch.from_numpy(piece.frames).permute(0, 3, 1, 2)
        times_s = video.next_times_s(len(decoded))
        for view, reading in zip(self.views, video.readings, strict=True):
            reading.add(view.frames(decoded), times_s)
        self.summary.num_frames += len(piece.frames)
        self.progress.count_frames(len(piece.frames))

    def finish(self, video: str, error: BadVideoError | None) -> None:
        """Stores what was made of a video, or takes note of why there is nothing."""
        done = self._open.pop(video, None)
        if error is not None:
            if self.on_bad_video == "raise":
                raise error
            _log.warning("%s", error)
            self.summary.bad[video] = error.reason
        elif done is not None:
            for view, reading in zip(self.views, done.readings, strict=True):
                self.store.save(video, view.key, Entry(*reading.end(done.candidates)))
            if done.is_new:
                self.probes.save(done.info)
        self.progress.count_video()


def _merged(videos: Sequence[str], parts: list[dict[str, Any]]) -> Summary:
    """What all ranks did together."""
    bad = {video: reason for part in parts for video, reason in part["bad"].items()}
    return Summary(
        num_videos=len(videos),
        num_stored_before=sum(part["num_stored_before"] for part in parts),
        num_frames=sum(part["num_frames"] for part in parts),
        bad={video: bad[video] for video in videos if video in bad},
    )


def candidates_of(piece: Piece) -> Candidates:
    """All T frames that were asked for of the file that a piece is of."""
    info, ids = piece.info, torch.from_numpy(piece.frame_ids)
    times_s = torch.from_numpy(np.ascontiguousarray(info.timestamps_s[piece.frame_ids]))
    return Candidates(info.path, ids, times_s, info.duration_s, info.num_frames, info.decoder)
