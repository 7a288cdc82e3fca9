"""What FFmpeg says of a file beside what it returns.

A decoder that meets damage often conceals it: it shows what is left in its memory, or a picture like the one before.
Only H.264 and a few others mark such a picture; nearly all say so in FFmpeg's log. A demuxer that skips over damage
says so there alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import av
import av.logging

_HARMLESS = ("mmco: unref short failure",)
"""What an open group's first picture wants forgotten is not there, since decoding began at it."""


@contextmanager
def complaints(level: int = av.logging.ERROR) -> Iterator[list[str]]:
    """Gathers what is told in this thread at a level or a graver one; complete when the block is left."""
    found: list[str] = []
    before, skips = av.logging.get_level(), av.logging.get_skip_repeated()
    av.logging.set_level(level)
    av.logging.set_skip_repeated(False)
    try:
        with av.logging.Capture() as told:
            yield found
    finally:
        av.logging.set_level(before)
        av.logging.set_skip_repeated(skips)
    found += [message.strip() for _, _, message in told if not message.startswith(_HARMLESS)]
