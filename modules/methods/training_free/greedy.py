"""Steps that rules share which take one frame after another: marginal relevance, Cholesky's, and lazy updates."""

from __future__ import annotations

import heapq
from collections.abc import Callable

import numpy as np

from modules.methods.training_free.ranking import Frames, Scores
from modules.methods.training_free.rated_frames import RatedFrames


def similarity(frames: RatedFrames, index: int | Frames) -> Scores:
    """Cosines (T,) or (T, n); where frames have no features, exp(-|distance in frames| / 10), as WFS-SB's code."""
    if frames.features.shape[1]:
        return frames.similarity(index)
    return np.exp(-np.abs(np.subtract.outer(np.arange(len(frames)), np.asarray(index))) / 10)


def marginal_relevance(
    frames: RatedFrames, relevance: Scores, weight: float, count: int, *, chosen: Frames | None = None
) -> Frames:
    """``count`` more frames, each the greatest of ``weight r_t - (1 - weight) max_{j chosen} cos(f_t, f_j)``.

    Args:
        frames: T candidates.
        relevance: r, float64 (T,); -inf where a frame may not be taken.
        weight: of relevance, 0..1.
        count: at most the number of frames that may be taken.
        chosen: before; the first frame is the most relevant one where there is none.
    """
    open_ = np.where(np.isfinite(relevance), weight * np.where(np.isfinite(relevance), relevance, 0.0), -np.inf)
    nearest = np.zeros(len(frames))
    if chosen is not None and len(chosen):
        nearest = similarity(frames, chosen).max(1)
        open_[chosen] = -np.inf
    picks: list[int] = []
    for n in range(count):
        first = n == 0 and (chosen is None or not len(chosen))
        pick = int(np.argmax(relevance if first else open_ - (1 - weight) * nearest))
        picks.append(pick)
        open_[pick] = -np.inf
        nearest = similarity(frames, pick) if first else np.maximum(nearest, similarity(frames, pick))
    return np.array(picks, dtype=np.int64)


def cholesky_row(row: Scores, rows: Scores, pick: int, left: Scores) -> Scores:
    """The next row of a Cholesky factor: ``(L_pick - C_pick^T C) / sqrt(left_pick)``, (T,).

    Args:
        row: L_pick, the kernel between the frame taken and all (T,).
        rows: C, of the frames taken before, (k, T).
        pick: index of the frame taken.
        left: (T,) what is left of each frame's own kernel value, ``L_tt - |C_t|^2``; above 0 at ``pick``.
    """
    return (row - rows[:, pick] @ rows) / np.sqrt(left[pick])


def lazy_greedy(first: Scores, gain: Callable[[int], float], take: Callable[[int], None], count: int) -> Frames:
    """Takes ``count`` of T frames, each the one of greatest gain; of equal gains the earliest.

    Gains must not grow as frames are taken (a submodular function's do not), so that one that was computed before is
    an upper bound, and only those at the top are computed anew (Minoux 1978).

    Args:
        first: (T,) gains before any is taken.
        gain: of a frame, given those taken.
        take: told of each frame that is taken.
        count: K.
    """
    bounds = [(-value, t) for t, value in enumerate(first.tolist())]
    heapq.heapify(bounds)
    picks: list[int] = []
    while len(picks) < count:
        _, t = heapq.heappop(bounds)
        fresh = (-gain(t), t)
        if bounds and fresh > bounds[0]:
            heapq.heappush(bounds, fresh)
            continue
        picks.append(t)
        take(t)
    return np.array(picks, dtype=np.int64)
