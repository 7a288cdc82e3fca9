"""A picture of where somebody looked: the chosen frames over the score of every candidate.

It is drawn without pyplot, so that a notebook's own figures stay as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from callbacks.option_bars import draw_option_bars
from modules.colours import ORANGE, SKY
from modules.selection.even_spacing import evenly_spaced
from modules.systems.option_shares import OptionShare

_INK, _CHOSEN = "#1f3a5f", "#c8322b"
_DPI = 90
_MOST_THUMBNAILS = 64


def timeline_figure(
    *,
    title: str,
    timestamps_s: np.ndarray,
    scores: np.ndarray | None,
    chosen: np.ndarray,
    thumbnails: np.ndarray,
    evidence_s: tuple[tuple[float, float], ...] = (),
    drawn: np.ndarray | None = None,
    options: Sequence[OptionShare] = (),
) -> Figure:
    """Thumbnails of the chosen frames, or of 64 evenly spaced ones of them, over the score of every candidate.

    Args:
        title: question and answer.
        timestamps_s: (T,).
        scores: (T,) or None.
        chosen: (K,) candidate indices in order of time.
        thumbnails: uint8 (K, H, W, 3).
        evidence_s: spans where the answer can be seen.
        drawn: (T,) how often each candidate was drawn by the rollouts.
        options: of the question, drawn beside the scores.
    """
    figure = Figure(figsize=(14, 4.8), dpi=_DPI, layout="constrained")
    pictured = np.arange(len(chosen))
    if len(chosen) > _MOST_THUMBNAILS:
        pictured = evenly_spaced(len(chosen), _MOST_THUMBNAILS).numpy()
    grid = figure.add_gridspec(2, max(len(pictured), 1), height_ratios=(1.0, 1.6))
    below = grid[1, :].subgridspec(1, 2, width_ratios=(2.6, 1.0)) if options else grid[1, :].subgridspec(1, 1)
    if options:
        draw_option_bars(figure.add_subplot(below[0, 1]), options)
    times = timestamps_s[chosen]
    for k, (pixels, t) in enumerate(zip(thumbnails[pictured], times[pictured], strict=True)):
        hit = any(start <= t < end for start, end in evidence_s)
        _draw_thumbnail(figure.add_subplot(grid[0, k]), pixels, f"{t:.1f} s", hit)
    axis = figure.add_subplot(below[0, 0])
    for n, (start, end) in enumerate(evidence_s):
        middle, half = (start + end) / 2, max((end - start) / 2, timestamps_s[-1] / 500)
        axis.axvspan(middle - half, middle + half, color=ORANGE, alpha=0.9, label=None if n else "evidence")
    if drawn is not None and drawn.any():
        twin = axis.twinx()
        twin.bar(timestamps_s, drawn, width=timestamps_s[-1] / 300, color=SKY, alpha=0.6)
        twin.set_ylabel("drawn by rollouts (bars)")
    if scores is not None:
        axis.plot(timestamps_s, scores, color=_INK, linewidth=0.9, label="score")
        axis.set_ylabel("score")
    heights = np.zeros(len(times)) if scores is None else scores[chosen]
    axis.scatter(times, heights, color=_CHOSEN, zorder=3, s=28, label="chosen")
    axis.set_xlim(timestamps_s[0], max(timestamps_s[-1], timestamps_s[0] + 1e-3))
    axis.set_xlabel("seconds")
    axis.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=3, fontsize=8, frameon=False)  # hides nothing
    figure.suptitle(title, fontsize=11, parse_math=False)
    return figure


def _draw_thumbnail(axis: Axes, pixels: np.ndarray, title: str, hit: bool) -> None:
    axis.imshow(pixels)
    axis.set_xticks([])
    axis.set_yticks([])
    for spine in axis.spines.values():
        spine.set_color(ORANGE if hit else "#bbbbbb")
        spine.set_linewidth(4 if hit else 1)
    axis.set_title(title, fontsize=9)


def save_figure(figure: Figure, path: Path) -> None:
    """Writes a PNG; its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
