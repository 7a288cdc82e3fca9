"""Evenly spaced positions: cases by hand, against exact fractions, rows against singles."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch

from modules.selection.even_spacing import evenly_spaced, evenly_spaced_rows


def test_by_hand() -> None:
    assert evenly_spaced(10, 3).tolist() == [1, 5, 8]  # 1.67, 5, 8.33
    assert evenly_spaced(7, 7).tolist() == list(range(7))
    assert evenly_spaced(2, 4).tolist() == [0, 0, 1, 1]
    assert evenly_spaced(0, 0).dtype == torch.int64


@pytest.mark.parametrize(("total", "count"), [(32_550, 64), (32_550, 1000), (2**33 + 1, 97), (97, 13), (64, 63)])
def test_middles_of_equal_parts_exactly(total: int, count: int) -> None:
    exact = [math.floor((i + Fraction(1, 2)) * total / count) for i in range(count)]
    found = evenly_spaced(total, count).tolist()
    assert found == exact
    assert len(set(found)) == count


def test_rows_are_the_singles_and_all_where_there_are_few() -> None:
    rows = evenly_spaced_rows(torch.tensor([40, 5, 4, 2, 0]), 4).tolist()
    assert rows[:3] == [evenly_spaced(total, 4).tolist() for total in (40, 5, 4)]
    assert rows[3:] == [[0, 1, -1, -1], [-1] * 4]
