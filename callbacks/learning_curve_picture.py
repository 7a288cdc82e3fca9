"""The picture of a training: reward, held-out accuracy between floor and ceiling, and how sure the policy is.

It is drawn without pyplot, so that a notebook's own figures stay as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from modules.colours import BLACK, BLUE, GREEN, GREY, SERIES, VERMILION

_KINDS = (*SERIES[1:], GREY, BLACK)
_MARKERS = "osD^vPX*"
_YARDSTICKS = {"val/oracle": ("oracle", "--"), "val/uniform": ("uniform frames", ":")}


def draw_learning_curve(series: Mapping[str, np.ndarray], path: Path) -> None:
    """Writes a PNG.

    Args:
        series: float (N, 2) of update and value, by the name of a metric.
        path: of the picture.
    """
    figure = Figure(figsize=(14, 4.8), dpi=90, layout="constrained")
    rewards, accuracy, frames = figure.subplots(1, 3)
    _draw_rewards(rewards, series)
    _draw_accuracy(accuracy, series)
    _draw_frames(frames, series)
    for axis in (rewards, accuracy, frames):
        axis.set_xlabel("updates")
        axis.grid(alpha=0.3)
        axis.set_xlim(left=0)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        if axis.get_legend_handles_labels()[0]:  # below, where it hides nothing
            legend = axis.legend(
                fontsize=8, frameon=False, ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.14), borderaxespad=0
            )
            for text in legend.get_texts():
                text.set_parse_math(False)  # a kind of question may have dollars in its name
    figure.savefig(path)


def _draw_rewards(axis: Axes, series: Mapping[str, np.ndarray]) -> None:
    shown = {"reward/total": BLUE, "reward/accuracy": VERMILION}
    total, accuracy = (series.get(name) for name in shown)
    if total is not None and accuracy is not None and np.array_equal(total, accuracy):
        del shown["reward/total"]  # one line would hide the other
    for name, colour in shown.items():
        if name in series:
            steps, values = series[name].T
            label = f"{name}{', all of the reward' if len(shown) == 1 else ''}, mean of 15 updates"
            axis.plot(steps, values, color=colour, alpha=0.2)
            axis.plot(steps, smooth(values), color=colour, label=label)
    axis.set_ylabel("reward, mean of the rollouts")
    axis.set_title("Reward" + _change(smooth(series["reward/total"][:, 1]) if "reward/total" in series else None))


def _draw_accuracy(axis: Axes, series: Mapping[str, np.ndarray]) -> None:
    for name, (title, style) in _YARDSTICKS.items():
        if name in series:
            axis.axhline(series[name][0, 1], color="#333333", linestyle=style, linewidth=1.5, label=title)
    kinds = [name for name in series if name.startswith("val/accuracy_")]
    for n, name in enumerate(kinds):
        label = name.removeprefix("val/accuracy_")
        colour, marker = _KINDS[n % len(_KINDS)], _MARKERS[n % len(_MARKERS)]
        axis.plot(*series[name].T, label=label, color=colour, marker=marker, linewidth=1, markersize=5)
    if "val/accuracy" in series:
        axis.plot(*series["val/accuracy"].T, label="all kinds", color=BLUE, linewidth=3.5, marker=".", zorder=3)
    axis.set_ylabel("share of validation questions right")
    axis.set_title("Held-out questions" + _change(series["val/accuracy"][:, 1] if "val/accuracy" in series else None))


def _draw_frames(axis: Axes, series: Mapping[str, np.ndarray]) -> None:
    name = "policy/effective_frames"
    if name in series:
        steps, values = series[name].T
        axis.plot(steps, values, color=GREEN, alpha=0.25)
        axis.plot(steps, smooth(values), color=GREEN, label="exp of the policy's entropy, mean of 15 updates")
        axis.set_yscale("log")
        axis.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 3.0, 5.0)))
        axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))  # 20, not 2 x 10^1
        axis.yaxis.set_minor_formatter(NullFormatter())
    axis.set_ylabel("frames")
    found = smooth(series[name][:, 1]) if name in series else None
    axis.set_title("Frames the policy wavers between" + _change(found, "{:.0f}"))


def _change(values: np.ndarray | None, form: str = "{:.2f}") -> str:
    """A second line of a title: ``0.65 at first, 0.82 at the end``."""
    if values is None or not len(values):
        return ""
    return f"\n{form.format(values[0])} at first, {form.format(values[-1])} at the end"


def smooth(values: np.ndarray, width: int = 15) -> np.ndarray:
    """Running mean over the last ``width`` points."""
    sums = np.cumsum(np.insert(values, 0, 0.0))
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(ends - width, 0)
    return (sums[ends] - sums[starts]) / (ends - starts)
