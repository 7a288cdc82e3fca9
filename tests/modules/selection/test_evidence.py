"""How well frames cover evidence, by hand."""

from __future__ import annotations

import math

import pytest

from modules.selection.evidence import coverage

SPANS = ((1.0, 2.0), (5.0, 6.0))


@pytest.mark.parametrize(
    ("timestamps_s", "found", "repeated"),
    [
        ((1.0, 5.5), 1.0, 0.0),
        ((1.0, 1.5, 1.9, 9.0), 0.5, 2 / 3),  # three frames in evidence, two of which repeat its only span
        ((2.0, 6.0), 0.0, math.nan),  # spans end before their ends
        ((), 0.0, math.nan),
    ],
)
def test_spans_that_are_found_and_frames_that_repeat_them(timestamps_s, found: float, repeated: float) -> None:
    assert coverage(SPANS, timestamps_s) == pytest.approx((found, repeated), nan_ok=True)


def test_without_evidence_nothing_is_known() -> None:
    assert all(map(math.isnan, coverage((), (1.0,))))
