"""Straight-through draws: one-hot forward, softmax backward, and a Plackett-Luce distribution of what is drawn."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from modules.methods.videostreaming.straight_through import straight_through_top_k
from modules.selection.policies import PlackettLuce, gumbel_noise


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def everywhere(logits: Tensor) -> Tensor:
    return torch.ones(logits.shape, dtype=torch.bool)


def test_forward_is_exactly_one_hot_and_in_order_of_time() -> None:
    logits = 3 * torch.randn(5, 9, generator=generator(1))
    draws = straight_through_top_k(logits, everywhere(logits), 4, num_rollouts=6, generator=generator())
    assert draws.rows.shape == (5, 6, 4, 9)
    assert set(draws.rows.unique().tolist()) == {0.0, 1.0}
    assert torch.equal(draws.rows.sum(-1), torch.ones(5, 6, 4))
    assert torch.equal(draws.rows.argmax(-1), draws.candidate_index)
    assert (draws.candidate_index.diff(dim=-1) > 0).all()


def test_one_draw_is_torchs_hard_gumbel_softmax(monkeypatch: pytest.MonkeyPatch) -> None:
    """Theirs and ours on the same noise: the draw and the gradient (torch.nn.functional.gumbel_softmax)."""
    weight = torch.randn(3, 7, generator=generator(2))
    found = []
    for ours in (True, False):
        logits = torch.randn(3, 7, generator=generator(3), requires_grad=True)
        if ours:
            mask = everywhere(logits)
            rows = straight_through_top_k(logits, mask, 1, temperature=0.7, generator=generator()).rows[:, 0, 0]
        else:
            noise = gumbel_noise(everywhere(logits), 1, generator())[:, 0]
            # it draws an exponential and takes its negative logarithm
            monkeypatch.setattr(Tensor, "exponential_", lambda self, noise=noise: (-noise).exp())
            rows = torch.nn.functional.gumbel_softmax(logits, tau=0.7, hard=True)
            monkeypatch.undo()
        (gradient,) = torch.autograd.grad((rows * weight).sum(), logits)
        found.append((rows.detach(), gradient))
    torch.testing.assert_close(found[0], found[1], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_gradient_by_hand(temperature: float) -> None:
    """Draw by draw: d/dl of w . softmax((l + g) / tau) over the clips not drawn before, p (w - p . w) / tau."""
    logits = torch.randn(1, 6, generator=generator(4), requires_grad=True)
    weight = torch.randn(1, 2, 3, 6, generator=generator(5))
    mask = everywhere(logits)
    draws = straight_through_top_k(logits, mask, 3, temperature=temperature, num_rollouts=2, generator=generator(6))
    (gradient,) = torch.autograd.grad((draws.rows * weight).sum(), logits)
    noise = gumbel_noise(mask, 2, generator(6))
    expected = torch.zeros(6)
    for g in range(2):
        perturbed, left = (logits.detach()[0] + noise[0, g]), list(range(6))
        drawn = perturbed.argsort(descending=True)[:3].tolist()
        assert sorted(drawn) == draws.candidate_index[0, g].tolist()
        for clip in drawn:
            w = weight[0, g, sorted(drawn).index(clip)][left]
            p = (perturbed[left] / temperature).softmax(-1)
            expected[left] += p * (w - (p * w).sum()) / temperature
            left.remove(clip)
    torch.testing.assert_close(gradient[0], expected, rtol=1e-4, atol=1e-5)
    assert gradient.abs().min() > 1e-4  # the hand would agree with nothing at all as well


def test_draws_follow_plackett_luce_and_are_those_of_the_policy() -> None:
    logits = torch.tensor([[0.0, 1.0, -0.5, 2.0]])
    policy = PlackettLuce(logits, everywhere(logits))
    many = 40_000
    draws = straight_through_top_k(logits, everywhere(logits), 2, num_rollouts=many, generator=generator(7))
    drawn = policy.sample(2, many, generator(7))
    assert torch.equal(draws.candidate_index, drawn.candidate_index.sort(-1).values)
    for first, second in itertools.combinations(range(4), 2):
        both = torch.tensor([[[first, second], [second, first]]])
        expected = policy.log_prob(both).sum(-1).exp().sum().item()
        share = (draws.candidate_index[0] == torch.tensor([first, second])).all(-1).float().mean().item()
        assert share == pytest.approx(expected, abs=4 * (expected * (1 - expected) / many) ** 0.5)


def test_fewer_clips_than_draws_and_padding() -> None:
    logits = torch.randn(3, 5, generator=generator(8), requires_grad=True)
    mask = torch.arange(5)[None] < torch.tensor([5, 2, 1])[:, None]
    generators = [generator(s) for s in range(3)]
    draws = straight_through_top_k(logits, mask, 6, num_rollouts=2, generator=generators)
    assert draws.candidate_index.tolist() == [
        [[0, 1, 2, 3, 4, -1]] * 2,
        [[0, 1, -1, -1, -1, -1]] * 2,
        [[0, -1, -1, -1, -1, -1]] * 2,
    ]
    assert torch.equal(draws.rows.sum((2, 3)), torch.tensor([[5.0, 5], [2, 2], [1, 1]]))
    (gradient,) = torch.autograd.grad((draws.rows * torch.randn(draws.rows.shape, generator=generator())).sum(), logits)
    assert gradient.isfinite().all()
    assert (gradient[~mask] == 0).all()
    assert gradient[2].abs().max() == 0  # where there is one clip there is nothing to choose
    assert gradient[0].abs().min() > 0
    alone = straight_through_top_k(logits[1:2, :2], mask[1:2, :2], 1, num_rollouts=2, generator=generator(1))
    again = straight_through_top_k(
        logits[1:2], mask[1:2], 1, num_rollouts=2, generator=[generator(1)]
    )  # padding shifts no draw
    assert torch.equal(alone.candidate_index, again.candidate_index)


def test_scores_in_bfloat16() -> None:
    logits = torch.randn(2, 8, generator=generator(9)).bfloat16().requires_grad_()
    draws = straight_through_top_k(logits, everywhere(logits), 3, generator=generator())
    assert draws.rows.dtype == torch.float32
    same = straight_through_top_k(logits.float(), everywhere(logits), 3, generator=generator())
    assert torch.equal(draws.rows, same.rows)
    draws.rows.square().sum().backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
