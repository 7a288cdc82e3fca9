"""How far a choice of clips is from the segment that a question's annotation marks (VideoStreaming, training stage 2).

The paper warms its selection up on it, for the first 30 K of 345 K examples, as the divergence of the selection from
the segment. That is infinite as soon as a clip outside has any probability, so here it is the divergence of the segment
from the selection.
"""

from __future__ import annotations

import torch
from torch import Tensor

from modules.records import QuestionBatch


def marked_segments(batch: QuestionBatch) -> Tensor:
    """bool (B, N), the clips in which a frame of a question's evidence lies; none where no evidence is known."""
    segments = torch.zeros(batch.mask.shape, dtype=torch.bool)
    for row, question, candidates in zip(segments, batch.questions, batch.candidates, strict=True):
        for start_s, end_s in question.evidence_s:
            row[: len(candidates)] |= candidates.within(start_s, end_s)
    return segments.to(batch.mask.device) & batch.mask


def segment_divergence(logits: Tensor, mask: Tensor, segments: Tensor) -> Tensor:
    """KL(u || p) = -log |S| - (1 / |S|) sum over S of log p in nats, u uniform over the segment S, p the softmax.

    Args:
        logits: (B, N), nats.
        mask: bool (B, N), True at real clips.
        segments: bool (B, N), S.

    Returns:
        float32 (B,), differentiable; 0, without gradient, where a question has no segment.
    """
    segments = segments & mask
    size = segments.sum(1)
    log_p = logits.float().masked_fill(~mask, -torch.inf).log_softmax(-1)
    mean = log_p.masked_fill(~segments, 0.0).sum(1) / size.clamp(min=1)
    return torch.where(size > 0, -size.clamp(min=1).float().log() - mean, 0.0)
