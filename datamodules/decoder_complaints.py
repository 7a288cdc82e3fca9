"""What FFmpeg's decoders say of a picture when they give one all the same.

A decoder that meets damage often conceals it: it shows what is left in its memory, or a picture like the one before.
Only H.264 and a few others mark such a picture; all of them say so in FFmpeg's log.
"""

from __future__ import annotations

import av
import av.logging

_HARMLESS = ("mmco: unref short failure",)
"""What an open group's first picture wants forgotten is not there, since decoding began at it."""


def decode(
    decoder: av.video.codeccontext.VideoCodecContext, packet: av.Packet | None
) -> tuple[list[av.VideoFrame], str | None]:
    """Frames that come out with a packet (None: those still held back), and the first error that was told, if any.

    Raises:
        av.error.FFmpegError: nothing can be made of the packet.
    """
    level, skips = av.logging.get_level(), av.logging.get_skip_repeated()
    av.logging.set_level(av.logging.ERROR)
    av.logging.set_skip_repeated(False)
    try:
        with av.logging.Capture() as told:
            frames = decoder.decode(packet)
    finally:
        av.logging.set_level(level)
        av.logging.set_skip_repeated(skips)
    complaints = (message.strip() for _, _, message in told)
    return frames, next((c for c in complaints if not c.startswith(_HARMLESS)), None)
