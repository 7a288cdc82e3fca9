"""One pass over many videos: each is decoded once and encoded once, whatever encoders and however many questions.

Resumable (what is stored already is left out), shared out to any number of processes or array jobs (`Shard`), and every
failure is named with its reason at the end.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from datamodules.decoding import Piece, ReadRequest, stream_many
from datamodules.features import Entry, FeatureStore
from datamodules.video import BadVideoError
from modules.encoders.base import FrameEncoder
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
    """What a pass did."""

    num_videos: int = 0
    num_stored_before: int = 0
    num_frames: int = 0
    seconds: float = 0.0
    bad: dict[str, str] = field(default_factory=dict)
    """File -> why it could not be read."""

    @property
    def frames_per_s(self) -> float:
        return self.num_frames / self.seconds if self.seconds else 0.0


def extract(
    videos: Sequence[str],
    encoders: Sequence[FrameEncoder],
    store: FeatureStore,
    template: ReadRequest,
    *,
    num_workers: int,
    timeout_s: float,
    on_bad_video: Literal["skip", "raise"],
) -> Summary:
    """Stores what each encoder makes of the candidates of each video that is not stored yet.

    Args:
        videos: files, each named once.
        encoders: of frames.
        store: to read and fill.
        template: how candidates are chosen; its path is not looked at.
        num_workers: processes that decode; encoding stays in this one, which holds the accelerator.
        timeout_s: a file that gives nothing for so long is bad.
        on_bad_video: ``raise`` stops at the first.

    Raises:
        BadVideoError: under ``raise``.
    """
    summary, started = Summary(len(videos)), time.perf_counter()

    def bad(error: BadVideoError) -> None:
        if on_bad_video == "raise":
            raise error
        _log.warning("%s", error)
        summary.bad[error.path] = error.reason

    requests = []
    for video in videos:
        if not Path(video).is_file():
            bad(BadVideoError(video, "no such file"))
        elif all(store.has(video, e.key) for e in encoders):
            summary.num_stored_before += 1
        else:
            requests.append(ReadRequest(video, None, template.fps, template.max_candidates, template.short_side_px))
    if requests:
        _decode_and_encode(requests, encoders, store, num_workers, timeout_s, summary, bad)
    summary.seconds = time.perf_counter() - started
    if summary.bad:
        _log.warning("%d of %d videos cannot be read and are left out", len(summary.bad), len(videos))
    return summary


def _decode_and_encode(requests, encoders, store, num_workers, timeout_s, summary, bad) -> None:
    columns = (TextColumn("[progress.description]{task.description}"), BarColumn(), MofNCompleteColumn(),
               TextColumn("{task.fields[rate]}"), TimeRemainingColumn())  # fmt: skip
    open_videos: dict[str, tuple[Piece, list[list[Tensor]]]] = {}
    with Progress(*columns) as progress:
        task = progress.add_task("Decoding and encoding videos", total=len(requests), rate="")
        for message in stream_many(requests, num_workers, timeout_s):
            path = message.request.path
            if isinstance(message, Piece):
                _, parts = open_videos.setdefault(path, (message, [[] for _ in encoders]))
                pixels = torch.from_numpy(message.frames).permute(0, 3, 1, 2)
                for encoder, part in zip(encoders, parts, strict=True):
                    part.append(encoder.encode_frames(pixels).cpu().half())
                summary.num_frames += len(message.frames)
            else:
                first, parts = open_videos.pop(path, (None, []))
                if message.error is not None:
                    bad(message.error)
                elif first is not None:
                    candidates = _candidates(first)
                    for encoder, part in zip(encoders, parts, strict=True):
                        store.save(path, encoder.key, Entry(candidates, torch.cat(part)))
                progress.advance(task)
            elapsed = progress.tasks[task].elapsed or 1.0
            progress.update(task, rate=f"{summary.num_frames / elapsed:.0f} frames/s")


def _candidates(piece: Piece) -> Candidates:
    info = piece.info
    times = torch.from_numpy(np.ascontiguousarray(info.timestamps_s[piece.frame_ids]))
    return Candidates(
        info.path, torch.from_numpy(piece.frame_ids), times, info.duration_s, info.num_frames, info.decoder
    )
