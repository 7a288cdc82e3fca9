"""Small pictures of frames of a video file, for reports."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from jsonargparse.typing import PositiveInt
from PIL import Image

from datamodules.video.decode_process import DecoderError, DecodeWorker
from datamodules.video.decode_worker import ReadRequest
from datamodules.video.video_file import BadVideoError
from modules.evaluation.report.picture_source import FramesOfVideo, PictureSource
from modules.part_progress import tracked


class Thumbnails(PictureSource):
    """Decodes frames in a process of its own and makes small WebP files of them.

    Args:
        height_px: of a picture; frames that are smaller stay as they are.
        quality: of WebP, up to 100.
    """

    def __init__(self, *, height_px: PositiveInt = 96, quality: PositiveInt = 60) -> None:
        self.height_px, self.quality = height_px, quality

    def pictures(self, wanted: Sequence[FramesOfVideo]) -> Iterator[dict[int, bytes] | ValueError]:
        """For each video its frames as WebP files by frame id, or why there are none."""
        worker = DecodeWorker()
        try:
            for frames in tracked(wanted, "Reading thumbnails", len(wanted), "videos"):
                try:
                    yield self._of_video(worker, frames)
                except (BadVideoError, DecoderError) as error:
                    yield ValueError(str(error))
        finally:
            worker.stop()

    def _of_video(self, worker: DecodeWorker, wanted: FramesOfVideo) -> dict[int, bytes]:
        path = _found(wanted.video, wanted.places)
        info, _, frames = worker.read(ReadRequest(path, wanted.frame_ids, short_side_px=self.height_px))
        if wanted.num_video_frames and info.num_frames != wanted.num_video_frames:
            reason = f"it has {info.num_frames} frames, and had {wanted.num_video_frames} in the run"
            raise BadVideoError(wanted.video, reason)
        return {frame: self._webp(pixels) for frame, pixels in zip(wanted.frame_ids, frames, strict=True)}

    def _webp(self, pixels: np.ndarray) -> bytes:
        image = Image.fromarray(pixels)
        image.thumbnail((4 * self.height_px, self.height_px))
        out = io.BytesIO()
        image.save(out, "WEBP", quality=self.quality)
        return out.getvalue()


def _found(video: str, places: Sequence[Path]) -> str:
    for place in places:
        path = os.path.join(place, video)
        try:
            if os.path.isfile(path):
                return path
        except ValueError:  # a name that no file can have
            continue
    raise BadVideoError(video, "no such file")
