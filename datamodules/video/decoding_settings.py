"""How the files of a data set are decoded, as a recipe says it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from jsonargparse.typing import NonNegativeInt, PositiveFloat, PositiveInt

OnBadVideo = Literal["skip", "raise"]


@dataclass(frozen=True, kw_only=True)
class DecodingSettings:
    """Decoding on one rank; no number of a run depends on it where every file can be read.

    Args:
        on_bad_video: ``skip`` names, counts and leaves out a video that cannot be read; ``raise`` stops.
        num_workers: processes that decode, on each rank.
        timeout_s: a file that gives no frame for so long is bad.
        pixel_cache_mib: host memory of each rank for decoded frames, half of it for those of the next batch, which are
            decoded during this one; 0 keeps none and decodes none ahead.
    """

    on_bad_video: OnBadVideo = "skip"
    num_workers: PositiveInt = 2
    timeout_s: PositiveFloat = 60.0
    pixel_cache_mib: NonNegativeInt = 2048
