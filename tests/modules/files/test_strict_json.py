"""What is written as JSON can be read by everybody: no number is NaN or infinite."""

from __future__ import annotations

import json
import math

import numpy as np

from modules.files.strict_json import strict_json


def refuse(word: str) -> None:
    raise AssertionError(f"{word} is no JSON")


def test_numbers_that_are_not_finite_become_null() -> None:
    content = {"a": [1.5, math.nan, (math.inf, -math.inf)], "b": {"c": np.float64("nan"), "d": "NaN", "e": 3}}
    assert json.loads(strict_json(content), parse_constant=refuse) == {
        "a": [1.5, None, [None, None]],
        "b": {"c": None, "d": "NaN", "e": 3},
    }


def test_layout_is_that_of_json() -> None:
    assert strict_json({"\u00e9": 1}, ensure_ascii=False, indent=1) == '{\n "\u00e9": 1\n}'
