"""Two updates of each method come to the numbers that were recorded before the code had rooms; see `runs`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from runs import HERE, differences, observations, run

ROUNDING = 1e-3
"""Relative; another processor's sums, through Adam's first steps. On the machine that recorded them: none."""


@pytest.mark.long
@pytest.mark.parametrize("name", ["tspo", "msjoe", "refocus"])
def test_two_updates_come_to_the_recorded_numbers(name: str, tmp_path: Path) -> None:
    expected = json.loads((HERE / f"{name}.json").read_text())
    found = json.loads(json.dumps(observations(run(name, tmp_path))))
    assert list(differences(expected, found, ROUNDING)) == []


def test_a_wrong_sign_is_a_difference() -> None:
    expected = {"curve": {"train/loss": {"1": 0.25}}, "rollouts": [{"timestamps_s": [1.0, 2.0], "text": "a"}]}
    for found in (
        {**expected, "curve": {"train/loss": {"1": -0.25}}},
        {**expected, "curve": {}},
        {**expected, "rollouts": []},
        {**expected, "rollouts": [{"timestamps_s": [2.0, 1.0], "text": "a"}]},
    ):
        assert list(differences(expected, found, ROUNDING)), found
    assert not list(differences(expected, {**expected, "curve": {"train/loss": {"1": 0.25 * (1 + 1e-5)}}}, ROUNDING))
