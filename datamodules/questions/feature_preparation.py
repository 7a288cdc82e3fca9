"""What stands before training: every video probed, or decoded once and encoded, and questions embedded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from datamodules.questions.bad_videos import BadVideos
from datamodules.questions.bare_candidates import BareCandidates
from datamodules.questions.items import StoredFeatures
from datamodules.video.candidate_grid import CandidateGrid
from datamodules.video.decoding_settings import DecodingSettings
from datamodules.video.encoding import Encoding
from datamodules.video.extraction import Summary, extract
from datamodules.video.feature_store import Entry, FeatureStore
from datamodules.video.frame_reader import FrameReader
from datamodules.video.placement import move, own_precision, placed
from datamodules.video.probing import probe_all
from modules.encoders.base import FrameEncoder, ImageTextEncoder
from modules.records import VideoQuestion


class FeaturePreparation:
    """Makes and keeps what a data module's encoder says of videos and questions.

    Args:
        encoder: of frames and questions, or of frames alone; None where no sampler looks at features.
        feature_dir: where the feature store lies.
        grid: how candidates are chosen.
        short_side_px: the encoder sees frames at most this large; None: as the reader decodes them.
        reader: of frames; other encoders see what it gives.
        bare: candidates of questions where there is no encoder.
        bad_videos: files that cannot be read; those found here are added.
        decoding: how files are decoded.
    """

    def __init__(
        self,
        encoder: FrameEncoder | None,
        feature_dir: Path,
        grid: CandidateGrid,
        *,
        short_side_px: int | None,
        reader: FrameReader,
        bare: BareCandidates,
        bad_videos: BadVideos,
        decoding: DecodingSettings,
    ) -> None:
        self.encoder, self.grid, self.reader, self.bare = encoder, grid, reader, bare
        self.bad_videos, self.decoding = bad_videos, decoding
        self.short_side_px = short_side_px or reader.short_side_px
        self.store = FeatureStore(feature_dir, grid.key)
        self.encoding = Encoding(encoder, self.short_side_px, reader.short_side_px, self.store)

    def encoder_on(self, device: torch.device) -> AbstractContextManager[None]:
        """Inside, the encoder lies on a device; afterwards it is back where it was."""
        return placed([] if self.encoder is None else [self.encoder], device)

    def prepare(self, videos: Sequence[str], others: Sequence[FrameEncoder], device: torch.device) -> None:
        """Probes videos where there is no encoder, and stores what encoders make of them where there is any.

        Args:
            videos: files, each named once; the same on all ranks.
            others: encoders beside the data module's own.
            device: where encoders compute.
        """
        if self.encoder is None:
            left = self.bad_videos.others_than_these(videos)
            self.bad_videos |= probe_all(left, self.reader, self.decoding.on_bad_video)
        if self.encoder is not None or others:
            self.extract(videos, others, device)

    def extract(self, videos: Sequence[str], others: Sequence[FrameEncoder], device: torch.device) -> Summary:
        """Stores what encoders make of every video that lacks an entry of one; each is decoded once, over all ranks."""
        views = self.encoding.share_a_decoding(others)
        with placed([view.encoder for view in views], device), own_precision(device):
            summary = extract(
                self.bad_videos.others_than_these(videos),
                views,
                self.store,
                self.grid.request,
                self.decoding,
            )
        self.bad_videos |= summary.bad
        return summary

    def entry_of(self) -> Callable[[VideoQuestion], Entry]:
        """Finds a question's candidates, and the features of them where there is an encoder."""
        return self.bare if self.encoder is None else StoredFeatures(self.store, self.encoding.key(self.encoder))

    def queries(self, questions: Sequence[VideoQuestion], device: torch.device) -> Tensor:
        """float32 (N, 1, D) on the host, the text features of N questions; (N, 0, 0) where no encoder reads texts."""
        if isinstance(self.encoder, ImageTextEncoder):
            return self.encoding.embed_texts([q.question for q in questions], device)[:, None].cpu()
        return torch.empty(len(questions), 0, 0)

    def describe(self) -> dict[str, Any]:
        """What an evaluation card has to name of it."""
        sizes = f"short={self.reader.short_side_px}/{self.short_side_px}"
        grid = f"frames of {self.bare.selections.path}" if self.bare.selections else f"{self.grid.key},{sizes}"
        found: dict[str, Any] = {"grid": grid, "encoder": None if self.encoder is None else self.encoder.key}
        if isinstance(self.encoder, ImageTextEncoder):
            found["questions cut by the encoder"] = self.encoder.num_truncated
        return found

    def stop(self) -> None:
        """Ends decoding, and gives an encoder's memory on the accelerator back."""
        self.reader.stop()
        if self.encoder is not None:
            move(self.encoder, torch.device("cpu"))
