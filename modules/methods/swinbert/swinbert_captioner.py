"""A trained SwinBERT wherever a captioner is wanted: VideoLucy, the building of needles, captions of a folder."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jsonargparse.typing import PositiveInt

from modules.encoders.base import weights_digest
from modules.files.paths import ModelPath
from modules.methods.swinbert.captioning_system import CaptionDecoding
from modules.methods.swinbert.frame_crops import square_crops
from modules.methods.swinbert.swinbert_folder import load_network
from modules.records import Cost
from modules.roles.captioner import Caption, Captioner, CaptionRequest
from modules.selection.even_spacing import evenly_spaced


class SwinBERTCaptioner(Captioner):
    """Describes the frames of a stretch. It reads no prompt: it says what its training captions say of a clip.

    Args:
        path: folder or hub id that a training wrote (`swinbert_folder`).
        num_frames: that are read of a stretch, evenly spaced; as in training by default. Of a stretch of fewer frames
            some are shown longer.
        decoding: how captions are written.
        clips_per_forward: stretches that are described together.
    """

    def __init__(
        self,
        *,
        path: ModelPath,
        num_frames: PositiveInt | None = None,
        decoding: CaptionDecoding | None = None,
        clips_per_forward: PositiveInt = 16,
    ) -> None:
        super().__init__()
        self.network = load_network(path).requires_grad_(False)
        self.num_frames = num_frames or self.network.num_frames
        self.decoding, self.clips_per_forward = decoding or CaptionDecoding(), clips_per_forward
        self._key: str | None = None

    @property
    def key(self) -> str:
        if self._key is None:
            settings = self.decoding
            self._key = (
                f"swinbert-{weights_digest(self.network)[:12]}-{self.num_frames}f-{settings.max_words}w-"
                f"{settings.num_beams}b-{settings.length_penalty:g}"
            )
        return self._key

    @torch.no_grad()
    def caption(self, requests: Sequence[CaptionRequest]) -> list[Caption]:
        captions: list[Caption] = []
        for start in range(0, len(requests), self.clips_per_forward):
            captions += self._together(requests[start : start + self.clips_per_forward])
        return captions

    def _together(self, requests: Sequence[CaptionRequest]) -> list[Caption]:
        network, settings = self.network, self.decoding
        clips = [
            square_crops(request.frames[evenly_spaced(len(request.frames), self.num_frames)], network.size_px)
            for request in requests
        ]
        keys = network.read(torch.stack([clip.to(network.device) for clip in clips]))
        written = network.write(
            keys,
            max_words=settings.max_words,
            num_beams=settings.num_beams,
            length_penalty=settings.length_penalty,
        )
        visual = network.grid(self.num_frames).num_tokens
        return [
            Caption(
                network.text_of(ids),
                Cost(frames_shown=self.num_frames, visual_tokens=visual, text_tokens_out=len(ids), calls=1),
            )
            for ids in written
        ]
