"""The options of a question drawn as bars, with the model's choice and the right one."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes

from modules.systems.option_shares import OptionShare

_LONGEST, _MOST = 44, 10  # characters of an option, and options, that a picture has room for
_RIGHT, _WRONG, _OTHER = "#2f7d4f", "#c8322b", "#9fb3c8"


def draw_option_bars(axis: Axes, bars: Sequence[OptionShare]) -> None:
    """Draws the options below one another with their percentages: green is right, red was chosen and is wrong."""
    shown = list(bars[:_MOST])
    colours = [_colour(bar) for bar in shown]
    places = range(len(shown))
    axis.barh(places, [bar.share for bar in shown], color=colours, height=0.35)
    for place, bar in zip(places, shown, strict=True):
        text = bar.text if len(bar.text) <= _LONGEST else f"{bar.text[: _LONGEST - 1]}\u2026"
        weight = "bold" if bar.is_choice else "normal"
        axis.text(0.0, place - 0.28, text, fontsize=9, va="bottom", parse_math=False, fontweight=weight)
        said = f"{bar.share:.0%}" + (f"  {bar.remark}" if bar.remark else "")
        axis.text(min(bar.share, 1.0) + 0.01, place, said, fontsize=8, va="center", fontweight=weight)
    axis.set_xlim(0.0, 1.35)
    axis.set_ylim(len(shown) - 0.4, -0.9)
    axis.set_yticks([])
    axis.set_xticks([0, 0.5, 1], ["0 %", "50 %", "100 %"], fontsize=8)
    for side in ("top", "right", "left"):
        axis.spines[side].set_visible(False)
    left_out = f" ({len(bars) - _MOST} more)" if len(bars) > _MOST else ""
    axis.set_xlabel(f"probability of the options{left_out}", fontsize=9)


def _colour(bar: OptionShare) -> str:
    if bar.is_right:
        return _RIGHT
    return _WRONG if bar.is_choice and bar.is_right is False else _OTHER
