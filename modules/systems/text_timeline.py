"""A video's timeline in letters, for a terminal: the scores of its candidates as bars, and where somebody looked."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_BARS = " ▁▂▃▄▅▆▇█"
_LOOKED, _NO_SCORE = "▲", "─"


def text_timeline(
    timestamps_s: np.ndarray, scores: np.ndarray | None, looked_s: Sequence[float], width: int
) -> tuple[str, str, str]:
    """Three lines of one length: bars, marks under the chosen moments, and seconds.

    A column stands for an equal part of the video; its bar is the greatest score in it, between the least and the
    greatest of all.

    Args:
        timestamps_s: (T,) of the candidates, increasing.
        scores: (T,) or None.
        looked_s: seconds of the chosen frames.
        width: characters of a line, at least 8.
    """
    first, last = float(timestamps_s[0]), float(timestamps_s[-1])
    span = max(last - first, 1e-9)

    def column(seconds: np.ndarray) -> np.ndarray:
        return np.clip((seconds - first) / span * width, 0, width - 1).astype(int)

    marks = np.full(width, " ")
    marks[column(np.asarray(looked_s, dtype=float))] = _LOOKED
    begins, ends = f"{first:.0f} s", f"{last:.0f} s"
    seconds = begins + ends.rjust(width - len(begins))
    if scores is None:
        return _NO_SCORE * width, "".join(marks), seconds
    best = np.full(width, -np.inf)
    np.maximum.at(best, column(timestamps_s), scores)
    finite = np.isfinite(best)
    low, high = float(scores.min()), float(scores.max())
    heights = np.zeros(width, dtype=int)
    heights[finite] = 1 + ((best[finite] - low) / max(high - low, 1e-9) * (len(_BARS) - 2)).round().astype(int)
    return "".join(_BARS[height] for height in heights), "".join(marks), seconds
