"""What can be said of a choice of frames when the evidence is known: how much of it was found, and the oracle's choice.

The oracle is no sampler (it looks at the answer sheet), so it is a function of a batch rather than of features.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from modules.records import QuestionBatch
from modules.selection.even_spacing import evenly_spaced


def oracle_selection(batch: QuestionBatch, num_frames: int) -> Tensor:
    """K candidates a question: every evidence span in turn gives a frame until K are chosen or the spans are empty,
    then evenly spaced frames fill up.

    Returns:
        int64 (B, 1, K) in order of time, -1 where a video has fewer than K candidates.
    """
    selections = torch.full((len(batch), 1, num_frames), -1, dtype=torch.int64)
    for b, question in enumerate(batch.questions):
        candidates = batch.candidates[b]
        spans = [torch.nonzero(candidates.within(s, e)).flatten().tolist() for s, e in question.evidence_s]
        queues = [_from_the_middle(span) for span in spans]
        chosen: list[int] = []
        while any(queues) and len(chosen) < num_frames:
            for queue in queues:
                if queue and len(chosen) < num_frames:
                    chosen.append(queue.pop(0))
        chosen = list(dict.fromkeys(chosen))
        evenly = evenly_spaced(len(candidates), 2 * num_frames).tolist()
        fill = [*dict.fromkeys(evenly[1::2] + evenly), *range(len(candidates))]
        for index in fill:
            if len(chosen) == min(num_frames, len(candidates)):
                break
            if index not in chosen:
                chosen.append(index)
        selections[b, 0, : len(chosen)] = torch.tensor(sorted(chosen))
    return selections


def coverage(evidence_s: Sequence[tuple[float, float]], timestamps_s: Sequence[float]) -> tuple[float, float]:
    """How well frames at these seconds cover a question's evidence.

    Returns:
        Share of the spans [start, end) in which some frame lies, NaN without spans; and of the frames that lie in
        evidence the share that only repeat a span which another frame already shows, NaN where none does.
    """
    if not evidence_s:
        return math.nan, math.nan
    inside = [[start <= t < end for t in timestamps_s] for start, end in evidence_s]
    num_spans = sum(any(row) for row in inside)
    num_frames = sum(map(any, zip(*inside, strict=True)))
    repeated = max(0.0, 1 - num_spans / num_frames) if num_frames else math.nan
    return num_spans / len(evidence_s), repeated


def _from_the_middle(span: list[int]) -> list[int]:
    """Middle, first, last, then the others: the clearest frame first, then those that show motion."""
    if not span:
        return []
    return list(dict.fromkeys([span[len(span) // 2], span[0], span[-1], *span]))
