"""VATEX: ``vatex_training_v1.0.json``, ``vatex_validation_v1.0.json``, ``vatex_public_test_english_v1.1.json``.

A list of clips ``{videoID, enCap, chCap}`` with ten captions in each language; the private test set has none. A
``videoID`` is a video with the seconds at which the clip begins and ends (``G0mjFqytJt4_000152_000162``): the file of
that name is the clip, cut already, and where there is only the whole video, the clip is that stretch of it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from datamodules.annotations.base import Manifest
from datamodules.annotations.caption_source import DESCRIBE, CaptionsIfAny, CaptionSource
from modules.files.paths import InputPath
from modules.files.rows import Fields, Row, Text, read
from modules.records import VideoQuestion

_CLIP = re.compile(r"(.+)_([0-9]{6})_([0-9]{6})")


class _Clip(Fields):
    videoID: Text  # noqa: N815  as published
    enCap: CaptionsIfAny = ()  # noqa: N815
    chCap: CaptionsIfAny = ()  # noqa: N815


class VATEX(CaptionSource):
    """VATEX; arguments as of `CaptionSource`, and:

    Args:
        annotations, videos, split, limit, instruction: see `CaptionSource`.
        language: en, or zh, whose words need spaces between them before metrics can count them.
    """

    dataset = "vatex"
    published = {"train": (25991, 25991), "val": (3000, 3000), "test": (6000, 6000)}

    def __init__(
        self,
        *,
        annotations: InputPath,
        videos: InputPath,
        split: str = "test",
        limit: int | None = None,
        instruction: str = DESCRIBE,
        language: Literal["en", "zh"] = "en",
    ) -> None:
        super().__init__(annotations=annotations, videos=videos, split=split, limit=limit, instruction=instruction)
        self.language = language

    def read_row(self, row: Row, manifest: Manifest) -> VideoQuestion:
        fields = read(_Clip, row)
        video, span = self.locate(row, "videoID", fields.videoID), None
        if not Path(video).is_file() and (parts := _CLIP.fullmatch(fields.videoID)):
            whole = self.locate(row, "videoID", parts[1])
            if Path(whole).is_file():
                with row.reading("videoID", fields.videoID):
                    video, span = whole, _stretch(int(parts[2]), int(parts[3]))
        captions = fields.enCap if self.language == "en" else fields.chCap
        return self.captioned(row, fields.videoID, manifest, captions, span, video=video)


def _stretch(start_s: int, end_s: int) -> tuple[float, float]:
    if start_s >= end_s:
        raise ValueError("VIDEO_START_END in seconds, the end behind the start")
    return float(start_s), float(end_s)
