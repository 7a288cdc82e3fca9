"""TVC (TV show captions): ``tvc_train_release.jsonl``, ``tvc_val_release.jsonl``, ``tvc_test_public_release.jsonl``.

A line is a stretch ``ts`` of a clip of a show, ``{vid_name, duration, ts, clip_id, descs}``; the test set has no
``descs``. Numbers in papers are of val. Videos lie below their show (``castle/castle_s01e01_seg02_clip_00.mp4``) or
beside one another; clips without a show in their name are of The Big Bang Theory.
"""

from __future__ import annotations

import re
from typing import Any

from datamodules.annotations.base import Manifest
from datamodules.annotations.caption_source import CaptionSource, Span
from modules.files.rows import Fields, Label, Row, SecondsIfAny, Text, TextIfAny, as_once, read, shortened
from modules.records import VideoQuestion

_SHOW = re.compile(r"([a-z]+)_s\d")


class _Stretch(Fields):
    vid_name: Text
    clip_id: Label
    ts: Span
    duration: SecondsIfAny = None
    descs: Any = None


class _Description(Fields):
    desc: Text
    type: TextIfAny = None


class TVC(CaptionSource):
    """TVC; groups ``show``, and ``type``, what its descriptions are of (v: video, t: text, vt: both).

    Args: see `CaptionSource`.
    """

    dataset = "tvc"

    def read_row(self, row: Row, manifest: Manifest) -> VideoQuestion:
        fields = read(_Stretch, row)
        with row.reading("descs", fields.descs):
            listed = as_once(fields.descs) or []
            if not isinstance(listed, list):
                raise ValueError(f"a list of descriptions, not {shortened(listed)}")
        described = [read(_Description, row.part(f"description {n}", n, d)) for n, d in enumerate(listed, 1)]
        show = found[1] if (found := _SHOW.match(fields.vid_name)) else "bbt"
        kinds = tuple(sorted({d.type for d in described if d.type}))
        names = (fields.vid_name, f"{show}/{fields.vid_name}", f"bbt_new/{fields.vid_name}")
        return self.captioned(
            row,
            fields.clip_id,
            manifest,
            [d.desc.strip() for d in described],
            fields.ts,
            video=self.locate(row, "vid_name", *names),
            duration_s=fields.duration or 0.0,
            groups={"show": show, **({"type": kinds} if kinds else {})},
        )
