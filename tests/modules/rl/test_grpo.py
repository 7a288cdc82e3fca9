"""Advantages and losses by hand; equality with TRL's trainer is in tests/parity."""

from __future__ import annotations

import pytest
import torch

from modules.rl.advantages import group_advantages, zero_std
from modules.rl.grpo import GRPO, grpo_loss, k3_kl


def test_advantages_by_hand() -> None:
    rewards = torch.tensor([[0.0, 1.0, 1.0, 0.0], [0.5, 0.5, 0.5, 0.5]])
    std = rewards[0].std(unbiased=True).item()
    expected = torch.tensor([-0.5, 0.5, 0.5, -0.5]) / (std + 1e-4)
    advantages = group_advantages(rewards)
    torch.testing.assert_close(advantages[0], expected)
    assert (advantages[1] == 0).all()
    assert zero_std(rewards).tolist() == [False, True]
    torch.testing.assert_close(group_advantages(rewards, "none")[0], torch.tensor([-0.5, 0.5, 0.5, -0.5]))
    batch = group_advantages(rewards, "batch")
    torch.testing.assert_close(batch[0], torch.tensor([-0.5, 0.5, 0.5, -0.5]) / (rewards.std() + 1e-4))


def test_a_rollout_without_reward_has_no_advantage() -> None:
    advantages = group_advantages(torch.tensor([[2.0, 1.0, torch.nan]]))
    assert advantages[0, 2] == 0
    assert advantages[0, 0] > 0 > advantages[0, 1]


def test_loss_is_zero_but_its_gradient_is_the_policy_gradient() -> None:
    log_probs = torch.randn(4, 3, requires_grad=True)
    advantages = torch.tensor([1.0, -1.0, 0.5, -0.5])
    result = grpo_loss(GRPO(loss_type="grpo"), log_probs, log_probs.detach(), advantages, torch.ones(4, 3))
    assert result.loss.item() == pytest.approx(0.0, abs=1e-6)
    (gradient,) = torch.autograd.grad(result.loss, log_probs)
    torch.testing.assert_close(gradient, -advantages[:, None].expand(4, 3) / 12)


def test_asymmetric_clipping_takes_the_gradient_away() -> None:
    config = GRPO(loss_type="grpo", epsilon=0.2, epsilon_high=0.5)
    old = torch.zeros(4, 1)
    log_probs = torch.tensor([[1.4], [1.6], [0.7], [0.9]]).log().requires_grad_()
    advantages = torch.tensor([1.0, 1.0, -1.0, -1.0])
    result = grpo_loss(config, log_probs, old, advantages, torch.ones(4, 1))
    (gradient,) = torch.autograd.grad(result.loss, log_probs)
    assert (gradient[:, 0] != 0).tolist() == [True, False, False, True]
    assert result.clipped_frac.item() == pytest.approx(0.5)


def test_k3_is_zero_at_equality_and_never_negative() -> None:
    log_probs = torch.randn(5, 4)
    assert (k3_kl(log_probs, log_probs) == 0).all()
    assert (k3_kl(log_probs, torch.randn(5, 4)) >= 0).all()


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"num_generations": 1}, "num_generations"),
        ({"loss_type": "gpro"}, "one of grpo, bnpo"),
        ({"epsilon": 0.0}, "epsilon"),
        ({"beta": -1.0}, "beta"),
    ],
)
def test_settings_check_themselves(settings: dict, word: str) -> None:
    with pytest.raises(ValueError, match=word):
        GRPO(**settings)


def test_kl_needs_a_reference() -> None:
    with pytest.raises(ValueError, match="reference"):
        grpo_loss(GRPO(beta=0.1), torch.zeros(2, 2), torch.zeros(2, 2), torch.zeros(2), torch.ones(2, 2))
