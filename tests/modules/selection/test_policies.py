"""Plackett-Luce: it is a distribution, its gradient is right, samples follow it; the official stand-in is biased."""

from __future__ import annotations

import itertools

import pytest
import torch

from modules.selection.policies import IndependentDraws, PlackettLuce


def every_ordered_subset(num_candidates: int, num_frames: int) -> torch.Tensor:
    return torch.tensor(list(itertools.permutations(range(num_candidates), num_frames)))[None]


def policy(num_candidates: int, num_questions: int = 1, scale: float = 1.0, cls=PlackettLuce) -> PlackettLuce:
    logits = scale * torch.randn(num_questions, num_candidates)
    return cls(logits, torch.ones_like(logits, dtype=torch.bool))


@pytest.mark.parametrize("num_candidates", [1, 2, 4, 6])
@pytest.mark.parametrize("scale", [0.1, 1.0, 8.0])
def test_all_ordered_subsets_sum_to_one(num_candidates: int, scale: float) -> None:
    for num_frames in range(1, num_candidates + 1):
        p = policy(num_candidates, scale=scale).log_prob(every_ordered_subset(num_candidates, num_frames)).sum(-1).exp()
        assert p.sum().item() == pytest.approx(1.0, abs=1e-5)


def test_by_hand() -> None:
    # weights 1, 2, 3: p(third, first) = 3/6 * 1/3
    p = PlackettLuce(torch.tensor([[1.0, 2.0, 3.0]]).log(), torch.ones(1, 3, dtype=torch.bool))
    log_prob = p.log_prob(torch.tensor([[[2, 0]]]))
    torch.testing.assert_close(log_prob.exp(), torch.tensor([[[0.5, 1 / 3]]]))


def test_naive_loop_agrees_and_so_does_its_gradient() -> None:
    logits = torch.randn(2, 9, dtype=torch.float32, requires_grad=True)
    mask = torch.ones(2, 9, dtype=torch.bool)
    index = torch.stack([torch.stack([torch.randperm(9)[:5] for _ in range(3)]) for _ in range(2)])
    ours = PlackettLuce(logits, mask).log_prob(index)
    (gradient,) = torch.autograd.grad(ours.square().sum(), logits, retain_graph=True)
    naive = torch.zeros(2, 3, 5)
    for b, g in itertools.product(range(2), range(3)):
        left = list(range(9))
        for k, i in enumerate(index[b, g].tolist()):
            naive[b, g, k] = logits[b, i] - logits[b, left].logsumexp(0)
            left.remove(i)
    (naive_gradient,) = torch.autograd.grad(naive.square().sum(), logits)
    torch.testing.assert_close(ours, naive)
    torch.testing.assert_close(gradient, naive_gradient)


@pytest.mark.parametrize("scale", [0.1, 3.0, 20.0])
def test_entropy_of_each_draw(scale: float) -> None:
    logits = (scale * torch.randn(2, 9)).requires_grad_()
    mask = torch.arange(9)[None] < torch.tensor([[9], [4]])
    p = PlackettLuce(logits, mask)
    index = p.sample(5, 3, torch.Generator().manual_seed(2)).candidate_index
    log_probs, entropies = p.log_prob_and_entropy(index)
    torch.testing.assert_close(log_probs, p.log_prob(index))
    naive = torch.zeros(2, 3, 5)
    for b, g in itertools.product(range(2), range(3)):
        left = list(range(int(mask[b].sum())))
        for k, i in enumerate(index[b, g].tolist()):
            if i >= 0:
                log_p = logits[b, left].log_softmax(0)
                naive[b, g, k] = -(log_p.exp() * log_p).sum()
                left.remove(i)
    torch.testing.assert_close(entropies, naive, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(entropies[:, 0, 0], p.entropy(), atol=1e-4, rtol=1e-4)
    (gradient,) = torch.autograd.grad(entropies.square().sum(), logits)
    (naive_gradient,) = torch.autograd.grad(naive.square().sum(), logits)
    torch.testing.assert_close(gradient, naive_gradient, atol=1e-3, rtol=1e-3)


def test_finite_differences() -> None:
    mask = torch.tensor([[True] * 5 + [False]])
    index = torch.tensor([[[3, 0, 4]]])
    logits = torch.randn(1, 6)
    probe = logits.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(PlackettLuce(probe, mask).log_prob(index).sum(), probe)
    for t in range(6):
        step = torch.zeros_like(logits)
        step[0, t] = 1e-2
        up, down = (PlackettLuce(logits + s * step, mask).log_prob(index).sum() for s in (1, -1))
        assert gradient[0, t].item() == pytest.approx(((up - down) / 2e-2).item(), abs=2e-3)


def test_rollouts_carry_their_own_log_prob() -> None:
    p = policy(20, num_questions=3)
    selection = p.sample(5, 7, torch.Generator().manual_seed(1))
    torch.testing.assert_close(selection.log_probs, p.log_prob(selection.candidate_index))
    assert selection.candidate_index.shape == (3, 7, 5)
    assert all(len(set(row.tolist())) == 5 for row in selection.candidate_index.flatten(0, 1))


def test_inclusion_follows_the_distribution() -> None:
    p = policy(5, scale=1.0)
    subsets = every_ordered_subset(5, 2)
    probability = p.log_prob(subsets).sum(-1).exp()[0]
    expected = torch.stack([probability[(subsets[0] == t).any(-1)].sum() for t in range(5)])
    drawn = p.sample(2, 20_000, torch.Generator().manual_seed(0)).candidate_index
    measured = torch.stack([(drawn == t).any(-1).float().mean() for t in range(5)])
    torch.testing.assert_close(measured, expected, atol=0.015, rtol=0)


@pytest.mark.parametrize(("cls", "biased"), [(PlackettLuce, False), (IndependentDraws, True)])
def test_score_function_has_mean_zero_only_if_exact(cls: type[PlackettLuce], biased: bool) -> None:
    logits = torch.tensor([[2.0, 1.0, 0.0, -1.0]], requires_grad=True)
    mask = torch.ones(1, 4, dtype=torch.bool)
    subsets = every_ordered_subset(4, 2)
    probability = PlackettLuce(logits, mask).log_prob(subsets).sum(-1).exp().detach()
    score = cls(logits, mask).log_prob(subsets).sum(-1)
    (expectation,) = torch.autograd.grad((probability * score).sum(), logits)
    assert (expectation.norm().item() > 0.1) == biased
    if not biased:
        assert expectation.norm().item() < 1e-5


def test_padding_is_never_drawn_and_few_candidates_shrink_the_selection() -> None:
    logits = torch.zeros(2, 6)
    logits[:, 5] = 100.0  # tempting padding
    mask = torch.tensor([[True] * 5 + [False], [True] * 2 + [False] * 4])
    selection = PlackettLuce(logits, mask).sample(4, 50)
    assert selection.candidate_index[0].max() <= 4
    assert selection.candidate_index[0].min() >= 0
    second = selection.candidate_index[1]
    assert (second[:, 2:] == -1).all()
    assert (second[:, :2].sort(-1).values == torch.tensor([0, 1])).all()
    assert (selection.log_probs[1, :, 2:] == 0).all()
    gradient = torch.zeros(2, 6, requires_grad=True)
    PlackettLuce(gradient, mask).log_prob(selection.candidate_index).sum().backward()
    assert torch.isfinite(gradient.grad).all()


def test_a_question_s_draws_do_not_depend_on_its_batch() -> None:
    logits = torch.randn(1, 6)
    alone = PlackettLuce(logits, torch.ones(1, 6, dtype=torch.bool))
    padded = torch.cat([torch.nn.functional.pad(logits, (0, 3)), torch.randn(1, 9)])
    mask = torch.tensor([[True] * 6 + [False] * 3, [True] * 9])
    generators = [torch.Generator().manual_seed(s) for s in (4, 5)]
    together = PlackettLuce(padded, mask).sample(3, 8, generators)
    single = alone.sample(3, 8, [torch.Generator().manual_seed(4)])
    assert torch.equal(together.candidate_index[0], single.candidate_index[0])


def test_entropy_and_mode() -> None:
    p = PlackettLuce(torch.tensor([[0.0, 3.0, 1.0, 9.0]]), torch.tensor([[True, True, True, False]]))
    assert p.mode(2).candidate_index.tolist() == [[[1, 2]]]
    expected = torch.distributions.Categorical(logits=torch.tensor([0.0, 3.0, 1.0])).entropy()
    torch.testing.assert_close(p.entropy()[0], expected)


def test_masks_are_checked() -> None:
    with pytest.raises(ValueError, match="both be"):
        PlackettLuce(torch.zeros(1, 3), torch.ones(1, 4, dtype=torch.bool))
    with pytest.raises(ValueError, match="no policy"):
        PlackettLuce(torch.zeros(1, 3), torch.zeros(1, 3, dtype=torch.bool))
