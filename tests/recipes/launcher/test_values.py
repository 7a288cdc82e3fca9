"""Ranges of settings are checked whatever stands beside them."""

from __future__ import annotations

import pytest

from recipes.launcher.check import check
from recipes.launcher.guard import ROOT
from recipes.launcher.mistakes import RecipeError


@pytest.mark.parametrize("recipe", ["tspo.yaml", "refocus.yaml"])  # the latter's grpo holds an object, its advantage
def test_a_value_out_of_range_beside_an_object_is_found(recipe: str) -> None:
    with pytest.raises(RecipeError, match=r"model\.init_args\.grpo: epsilon=2\.0: between 0 and 1"):
        check(str(ROOT / "recipes" / recipe), [], ["--model.grpo.epsilon", "2.0"])
