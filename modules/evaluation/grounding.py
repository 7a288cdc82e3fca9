"""NExT-GQA: is the answer right *and* does it rest on the right moment?

For a predicted span p and the reference spans r of a question: IoU = |p n r| / |p u r|, IoP = |p n r| / |p|, the best
reference counting. Reported: mIoU, IoU@.3/.5, mIoP, IoP@.3/.5 and Acc@GQA, right with IoP >= 0.5. A single point has
IoU 0 and IoP 1 inside a span, as in the official evaluation. (There, questions missing from the file of predictions are
skipped; here every question counts, one without a prediction as 0.)

Our prediction: the span from the first to the last of the chosen frames is far too long for a sampler that spreads its
picks, so it is the tightest span that holds at least half of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from modules.evaluation.aggregate import Graded
from modules.records import Answer

Span = tuple[float, float]


def tightest_half(timestamps_s: Sequence[float]) -> Span | None:
    """The shortest span that holds half of the frames (rounded up), or None without frames."""
    times = np.sort(np.asarray(timestamps_s, float))
    if not len(times):
        return None
    size = (len(times) + 1) // 2
    lengths = times[size - 1 :] - times[: len(times) - size + 1]
    start = int(lengths.argmin())
    return float(times[start]), float(times[start + size - 1])


def overlap(predicted: Span, references: Sequence[Span]) -> tuple[float, float]:
    """(IoU, IoP), each the best over the references."""
    best_iou = best_iop = 0.0
    length = predicted[1] - predicted[0]
    for low, high in references:
        common = min(predicted[1], high) - max(predicted[0], low)
        if length <= 0:  # a point
            best_iop = max(best_iop, float(low <= predicted[0] <= high))
        elif common > 0:
            best_iou = max(best_iou, common / (max(predicted[1], high) - min(predicted[0], low)))
            best_iop = max(best_iop, common / length)
    return best_iou, best_iop


def grounding_metrics(graded: Graded) -> dict[str, float]:
    """NExT-GQA's metrics in 0..1 over the questions whose moments are known; empty where there are none."""
    pairs: list[tuple[float, Answer]] = [
        (c, a) for c, a in zip(graded.correct, graded.answers, strict=True) if a.evidence_s
    ]
    if not pairs:
        return {}
    ious, iops = [], []
    for _, answer in pairs:
        predicted = tightest_half(answer.timestamps_s)
        iou, iop = (0.0, 0.0) if predicted is None else overlap(predicted, answer.evidence_s)
        ious.append(iou)
        iops.append(iop)
    correct, all_ious, all_iops = np.array([c for c, _ in pairs]), np.array(ious), np.array(iops)
    return {
        "Acc@QA": float(correct.mean()),
        "Acc@GQA": float((correct * (all_iops >= 0.5)).mean()),
        "mIoP": float(all_iops.mean()),
        "IoP@0.3": float((all_iops >= 0.3).mean()),
        "IoP@0.5": float((all_iops >= 0.5).mean()),
        "mIoU": float(all_ious.mean()),
        "IoU@0.3": float((all_ious >= 0.3).mean()),
        "IoU@0.5": float((all_ious >= 0.5).mean()),
    }
