"""How texts of the small CLIP repel and attract one another."""

from __future__ import annotations

import pytest
import torch

from modules.small_stack.contrastive import repulsion_of


def at(*degrees: float) -> torch.Tensor:
    angle = torch.tensor(degrees, dtype=torch.float64).deg2rad()
    return torch.stack([angle.cos(), angle.sin()], 1)


def test_repulsion_by_hand() -> None:
    # cosines: 1 between the first two, 0.5 with the third
    apart = repulsion_of(at(0, 0, 60), torch.arange(3))
    assert apart.item() == pytest.approx(0.5**2 / 3)
    reworded = repulsion_of(at(0, 90, 180), torch.tensor([0, 0, 1]))
    assert reworded.item() == pytest.approx(0.9**2)
    assert repulsion_of(at(0, 10, 120), torch.tensor([4, 4, 2])).item() == 0
