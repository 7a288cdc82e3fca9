"""What encoders make of videos and texts: made where the accelerator is, stored, and read back."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch
from torch import Tensor

from datamodules.video.feature_store import FeatureStore
from datamodules.video.placement import move, own_precision
from datamodules.video.views import View, views_of
from modules.encoders.base import FrameEncoder, ImageTextEncoder
from modules.records import Candidates

_log = logging.getLogger(__name__)
_TEXTS_PER_FORWARD = 256


class Encoding:
    """A data module's encoder beside those of the model that is trained.

    Args:
        encoder: the data module's own; None where no sampler looks at features.
        short_side_px: what it sees; None: the file's size.
        others_short_side_px: what the others see.
        store: of features.
    """

    def __init__(
        self,
        encoder: FrameEncoder | None,
        short_side_px: int | None,
        others_short_side_px: int | None,
        store: FeatureStore,
    ) -> None:
        self.encoder, self.store = encoder, store
        self.short_side_px, self.others_short_side_px = short_side_px, others_short_side_px
        self._views: dict[str, View] = {}
        """By the key of the encoder."""
        self._asked_in_vain: set[str] = set()

    def share_a_decoding(self, others: Sequence[FrameEncoder]) -> list[View]:
        """What each encoder sees when videos are decoded for all of them; entries are read by these keys then."""
        own = [] if self.encoder is None else [(self.encoder, self.short_side_px)]
        views = views_of([*own, *((other, self.others_short_side_px) for other in others)])
        self._views |= {view.encoder.key: view for view in views}
        return views

    def key(self, encoder: FrameEncoder) -> str:
        """Of an encoder's entries in the store."""
        return self._views[encoder.key].key

    def stored(self, candidates: Candidates, candidate_index: Tensor, encoder_key: str) -> Tensor | None:
        """What an encoder made of some candidates (N,): (N, ...), or None where it was not extracted."""
        if encoder_key not in self._views:
            self._say_once(encoder_key)
            return None
        parts: list[tuple[Tensor, Tensor]] = []
        for video, where in candidates.by_source(candidate_index):
            rows = self._rows(video, candidates.frame_ids[candidate_index[where]], self._views[encoder_key].key)
            if rows is None:
                self._say_once(encoder_key)
                return None
            parts.append((where, rows))
        out = parts[0][1].new_empty(len(candidate_index), *parts[0][1].shape[1:])
        for where, rows in parts:
            out[where] = rows
        return out

    def _rows(self, video: str, frame_ids: Tensor, key: str) -> Tensor | None:
        """Features of frames (n,) of one file; None where it has no entry, or the frames lie off its grid."""
        try:
            entry = self.store.load(video, key)
        except KeyError:
            return None
        rows = torch.searchsorted(entry.candidates.frame_ids, frame_ids).clamp(max=len(entry.candidates) - 1)
        return entry.features[rows] if torch.equal(entry.candidates.frame_ids[rows], frame_ids) else None

    def _say_once(self, encoder_key: str) -> None:
        if encoder_key not in self._asked_in_vain:
            self._asked_in_vain.add(encoder_key)
            _log.warning("not all that encoder %s makes of frames is stored: they are decoded and encoded", encoder_key)

    def embed_texts(self, texts: list[str], device: torch.device) -> Tensor:
        """N texts -> float32 (N, D), on the device, where the encoder stays until it is moved."""
        if not isinstance(self.encoder, ImageTextEncoder):
            raise ValueError("written queries are compared with frames: data.encoder has to be one of images and texts")
        move(self.encoder, device)
        chunks = [texts[n : n + _TEXTS_PER_FORWARD] for n in range(0, len(texts), _TEXTS_PER_FORWARD)]
        with own_precision(device):
            return torch.cat([self.encoder.encode_texts(chunk) for chunk in chunks])
