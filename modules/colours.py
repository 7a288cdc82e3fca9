"""Colours of pictures, which the colour-blind can tell apart: those of Okabe and Ito, and two without a hue.

*Color Universal Design* (2008); their yellow is left out, as it is too light for lines on white.
"""

from __future__ import annotations

BLUE, VERMILION, GREEN, PINK = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
ORANGE, SKY = "#E69F00", "#56B4E9"
GREY, BLACK = "#8a8a8a", "#000000"
SERIES = (BLUE, VERMILION, GREEN, PINK, ORANGE, SKY)
"""For lines and points of one picture, in the order that they are taken in."""
