"""The sparse mask: what each form opens, where gradients go, and how it is carried to more frames."""

from __future__ import annotations

import pytest
import torch

from modules.methods.swinbert.mask_interpolation import in_other_time
from modules.methods.swinbert.token_grid import TokenGrid
from modules.methods.swinbert.video_masks import AdditiveMask, BinaryMask, FullMask, IdentityMask, LearntMask, LogMask

_GRID = TokenGrid(3, 1, 2)


def attention(bias: torch.Tensor | None, scores: torch.Tensor) -> torch.Tensor:
    return (scores if bias is None else scores + bias).softmax(-1)


def test_a_link_of_the_log_mask_is_a_factor_of_its_weight() -> None:
    mask = LogMask()
    mask.settle(_GRID)
    with torch.no_grad():
        mask.logits.normal_()
    scores = torch.randn(6, 6)
    weights = scores.exp() * (mask.links(_GRID) + mask.eps)
    torch.testing.assert_close(attention(mask.bias(_GRID), scores), weights / weights.sum(-1, keepdim=True))
    assert mask.links(_GRID).diagonal().eq(1).all()


def test_log_masks_begin_with_one_value() -> None:
    mask = LogMask()
    mask.settle(_GRID)
    assert mask.sparsity().item() == pytest.approx(torch.tensor(2.0).sigmoid().item())
    assert mask.logits.eq(2).all()


def test_the_official_form_is_the_identity_and_gets_no_gradient_from_the_captions() -> None:
    torch.manual_seed(0)
    mask, log = AdditiveMask(), LogMask(initial_logit=None)
    grid = TokenGrid(4, 7, 7)
    for one in (mask, log):
        one.settle(grid)
    scores, values = torch.randn(196, 196), torch.randn(196, 8)
    torch.testing.assert_close(attention(mask.bias(grid), scores), torch.eye(196))
    for one, learns in ((mask, False), (log, True)):
        (attention(one.bias(grid), scores) @ values).square().sum().backward()
        assert one.logits.grad is not None
        largest = one.logits.grad.abs().max().item()
        assert largest > 1e-3 if learns else largest < 1e-30  # e to the power of -100 or so is no number in float32
    mask.sparsity().backward()  # only this moves it
    assert mask.logits.grad.abs().max() > 1e-7


def test_sparsity_is_the_mean_off_the_diagonal() -> None:
    mask = LogMask()
    mask.settle(_GRID)
    with torch.no_grad():
        mask.logits.copy_(torch.arange(36.0).view(6, 6) / 10 - 2)
    weights = mask.logits.sigmoid()
    expected = sum(weights[i, j] for i in range(6) for j in range(6) if i != j) / 30
    torch.testing.assert_close(mask.sparsity(), expected)


def test_binary_masks_open_the_strongest_links_and_themselves() -> None:
    mask = BinaryMask(budget_frac=0.2)
    mask.settle(_GRID)
    logits = torch.randn(6, 6)
    mask.load_state_dict({"logits": logits})
    links, off = mask.links(_GRID), ~torch.eye(6, dtype=torch.bool)
    assert links[off].sum() == 6  # a fifth of 30
    assert logits[off & (links == 1)].min() > logits[off & (links == 0)].max()
    assert not mask.logits.requires_grad
    opened = attention(mask.bias(_GRID), torch.randn(6, 6)) > 0
    assert opened.equal(links == 1)


@pytest.mark.parametrize(("mask", "expected"), [(FullMask(), torch.ones(6, 6)), (IdentityMask(), torch.eye(6))])
def test_the_two_ends(mask: LearntMask, expected: torch.Tensor) -> None:
    mask.settle(_GRID)
    assert (attention(mask.bias(_GRID), torch.randn(6, 6)) > 0).float().equal(expected)
    assert mask.links(_GRID).equal(expected)


# ---- other numbers of frames ----


def by_distance(steps: int, place: int, rule: object) -> torch.Tensor:
    distance = torch.arange(steps)[None] - torch.arange(steps)[:, None]
    pairs = rule(distance.float())  # type: ignore[operator]
    return pairs[:, None, :, None].expand(steps, place, steps, place).reshape(steps * place, steps * place)


@pytest.mark.parametrize("steps", [1, 2, 3, 5, 8, 16])
def test_a_constant_stays_constant(steps: int) -> None:
    grid = TokenGrid(4, 2, 3)
    grown = in_other_time(torch.full((24, 24), 1.7), grid, steps)
    assert grown.shape == (6 * steps, 6 * steps)
    torch.testing.assert_close(grown, torch.full_like(grown, 1.7))


@pytest.mark.parametrize("steps", [4, 8, 12])
def test_a_band_stays_a_band_of_twice_the_steps(steps: int) -> None:
    """Open up to a distance of one step: afterwards up to the same time, everywhere alike."""
    grid = TokenGrid(4, 1, 2)
    band = by_distance(4, 2, lambda d: torch.where(d.abs() <= 1, 3.0, -6.0))
    grown = in_other_time(band, grid, steps)
    scale = 4 / steps
    expected = by_distance(steps, 2, lambda d: 3 - 9 * ((d.abs() * scale) - 1).clamp(0, 1))
    torch.testing.assert_close(grown, expected)


def test_interpolating_along_rows_and_columns_would_break_the_band() -> None:
    """The property above is not given: the official code's way does not have it."""
    band = by_distance(4, 1, lambda d: torch.where(d.abs() <= 1, 3.0, -6.0))
    grown = torch.nn.functional.interpolate(band[None, None], scale_factor=2, mode="bilinear")[0, 0]
    diagonal = grown.diagonal(2)
    assert diagonal.max() - diagonal.min() > 1


def test_a_diagonal_that_was_never_learnt_does_not_show_in_more_frames() -> None:
    grid = TokenGrid(4, 1, 2)
    logits = torch.full((8, 8), -5.0)
    logits.fill_diagonal_(2.0)  # where it began
    torch.testing.assert_close(in_other_time(logits, grid, 8), torch.full((16, 16), -5.0))


def test_what_is_early_stays_early() -> None:
    grid, early = TokenGrid(4, 1, 1), torch.zeros(4, 4)
    early[0, 1] = 4.0  # step 0 looks at step 1
    grown = in_other_time(early, grid, 8)
    assert grown[:3, 1:5].max() > 1
    assert grown[4:].abs().max() == 0


def test_the_carried_mask_is_written_back_and_learns_on() -> None:
    mask = LogMask()
    mask.settle(_GRID)
    with torch.no_grad():
        mask.logits.normal_()
    wide = _GRID._replace(steps=6)
    before = mask.links(wide)
    mask.carry_to(6)
    assert mask.grid == wide
    torch.testing.assert_close(mask.links(wide), before)
    mask.sparsity().backward()
    assert mask.logits.grad is not None


def test_an_interpolated_mask_passes_its_gradient_on() -> None:
    mask = LogMask()
    mask.settle(_GRID)
    mask.links(_GRID._replace(steps=6)).sum().backward()
    assert mask.logits.grad is not None
    assert bool((mask.logits.grad != 0).any())


def test_other_rows_are_refused_with_both_grids() -> None:
    mask = LogMask()
    mask.settle(_GRID)
    with pytest.raises(ValueError, match=r"3 x 1 x 2 .* give 3 x 2 x 2.*size_px"):
        mask.bias(TokenGrid(3, 2, 2))


def test_a_budget_is_a_share() -> None:
    with pytest.raises(ValueError, match="budget_frac=20"):
        BinaryMask(budget_frac=20)
