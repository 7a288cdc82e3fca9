"""The frames of a batch's clips, as the network takes them; a clip that cannot be decoded is left out, never blank."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from modules.methods.swinbert.frame_crops import square_crops
from modules.records import QuestionBatch, Selection
from modules.selection.even_spacing import evenly_spaced
from modules.systems.frame_source import FrameSource


@dataclass(frozen=True)
class ReadClips:
    """Those of B questions whose frames could be decoded."""

    batch: QuestionBatch
    """b of them."""
    places: list[int]
    """Their positions in the batch that was asked for."""
    frames: Tensor
    """uint8 (b, T, 3, S, S)."""
    selection: Selection
    """(b, 1, T), the candidates that the frames are; some come twice where a clip has fewer than T."""


def read_clips(
    batch: QuestionBatch,
    source: FrameSource,
    num_frames: int,
    size_px: int,
    generators: Sequence[torch.Generator] | None = None,
) -> ReadClips | None:
    """Evenly spaced frames of each clip, cut to squares.

    Args:
        batch: B questions.
        source: of frames.
        num_frames: T.
        size_px: S.
        generators: one for each question, to draw the place of its square; None takes the middle.

    Returns:
        None where no clip could be decoded.
    """
    index = [evenly_spaced(len(candidates), num_frames) for candidates in batch.candidates]
    once = [chosen.unique(return_inverse=True) for chosen in index]
    asked = [(candidates, which) for candidates, (which, _) in zip(batch.candidates, once, strict=True)]
    clips: list[Tensor] = []
    places: list[int] = []
    for b, (pixels, (_, again)) in enumerate(zip(source.decode_many(asked), once, strict=True)):
        if pixels is None:  # the source has named it and counts it
            continue
        clips.append(square_crops(pixels[again], size_px, None if generators is None else generators[b]))
        places.append(b)
    if not clips:
        return None
    chosen = torch.stack([index[b] for b in places])[:, None]
    return ReadClips(some_of(batch, places), places, torch.stack(clips), Selection(chosen, torch.zeros(chosen.shape)))


def blank_clips(batch: QuestionBatch, num_frames: int, size_px: int) -> ReadClips:
    """What a rank none of whose clips could be decoded computes beside the others, for all of them to compute alike.

    Nothing is learnt of it: its loss counts for nothing.
    """
    index = torch.zeros(1, 1, num_frames, dtype=torch.int64)
    frames = torch.zeros(1, num_frames, 3, size_px, size_px, dtype=torch.uint8)
    return ReadClips(some_of(batch, [0]), [], frames, Selection(index, torch.zeros(index.shape)))


def some_of(batch: QuestionBatch, places: Sequence[int]) -> QuestionBatch:
    """The questions at some places of a batch."""
    rows = list(places)
    tensors = (batch.features, batch.mask, batch.timestamps_s, batch.queries)
    return QuestionBatch(
        [batch.questions[b] for b in rows], [batch.candidates[b] for b in rows], *(t[rows] for t in tensors)
    )
