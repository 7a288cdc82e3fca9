"""Difficulty-aware advantages: by hand, and what they are for."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from modules.methods.msjoe.difficulty import DifficultyAware
from modules.records import VideoQuestion
from modules.rl.advantages import GroupNorm, group_advantages


def rollouts(*rates: float | None) -> SimpleNamespace:
    questions = [VideoQuestion("d", "s", f"q{n}", "v", 1.0, "?", pass_rate=r) for n, r in enumerate(rates)]
    return SimpleNamespace(batch=SimpleNamespace(questions=questions))


def test_rare_successes_count_most() -> None:
    found = DifficultyAware()(rollouts(0.5, 0.25), torch.tensor([[1.0, 0.0], [1.0, 0.0]]))
    torch.testing.assert_close(found, torch.tensor([[2.0, -2.0], [4.0, -4 / 3]]))  # 1/c and -1/(1-c)


def test_never_solved_gets_the_papers_ten() -> None:
    found = DifficultyAware()(rollouts(0.0, 1.0), torch.tensor([[1.0, 0.0], [1.0, 0.0]]))
    torch.testing.assert_close(found, torch.tensor([[10.0, -10 / 9], [10 / 9, -10.0]]))


@pytest.mark.parametrize("c", [0.1, 0.3, 0.75])
def test_it_has_no_mean_under_the_policy_it_was_measured_on(c: float) -> None:
    right = (torch.rand(1, 200_000, generator=torch.Generator().manual_seed(0)) < c).float()
    assert abs(float(DifficultyAware()(rollouts(c), right).mean())) < 0.02


def test_what_could_not_be_judged_teaches_nothing() -> None:
    assert DifficultyAware()(rollouts(0.5), torch.tensor([[torch.nan, 1.0]])).tolist() == [[0.0, 2.0]]


def test_a_missing_rate_is_named_with_what_to_do() -> None:
    with pytest.raises(ValueError, match=r"question q1 of d has no pass rate.*recipes/data/pass_rates\.yaml"):
        DifficultyAware()(rollouts(0.5, None), torch.zeros(2, 2))
    with pytest.raises(ValueError, match="0 < low <= high < 1"):
        DifficultyAware(low=0.0)


def test_groups_that_hardly_differ_teach_nothing() -> None:
    reward = torch.tensor([[0.5, 0.5004, 0.4996], [0.5, 0.6, 0.4], [0.2, torch.nan, 0.8], [0.3, torch.nan, torch.nan]])
    found = GroupNorm(min_std=1e-3)(rollouts(None, None, None, None), reward)
    torch.testing.assert_close(found[:3], group_advantages(reward)[:3] * torch.tensor([[0.0], [1.0], [1.0]]))
    assert found[3].tolist() == [0.0, 0.0, 0.0]
    assert GroupNorm(min_std=0.0)(rollouts(None), reward[:1]).abs().max() > 0.5
    with pytest.raises(ValueError, match="min_std"):
        GroupNorm(min_std=-1.0)
