"""What is known of one coded picture before it is decoded."""

from __future__ import annotations

from typing import NamedTuple


class Picture(NamedTuple):
    """What is known of a coded picture."""

    starts: bool = False
    """Decoding may begin here: this picture, and every one after it in decoding and in showing, needs none before."""
    disposable_at: int | None = None
    """No other picture of this temporal layer or a lower one refers to it; None: others may."""
    shown: bool = True
    """The packet yields a frame."""
    layer: int = 0
    """Temporal layer."""
    known: bool = True
    """The picture was understood; else nothing may be left out around it."""


UNKNOWN = Picture(known=False)
