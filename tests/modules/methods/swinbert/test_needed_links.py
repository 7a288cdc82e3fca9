"""What each form of the sparse mask can learn where one video token has to read another.

Twelve video tokens carry one of four values each. A mask token reads video token 2 alone, and has to name the value of
token 8, or the sum of both modulo 4. So token 2 must have read token 8: nothing else can bring its value. Chance: 0.25.
"""

from __future__ import annotations

from typing import Any

import pytest
from linked_tokens import LinkedTokens, train_on_links

from modules.methods.swinbert.video_masks import AdditiveMask, BinaryMask, FullMask, IdentityMask, LogMask, VideoMask

_QUICK: dict[str, Any] = {"adds": False, "num_steps": 100, "batch_size": 64, "learning_rate": 5e-3}


@pytest.fixture(scope="module")
def learnt() -> tuple[LinkedTokens, float]:
    return train_on_links(LogMask(), seed=0, **_QUICK)


def test_full_attention_learns_it() -> None:
    assert train_on_links(FullMask(), seed=0, **_QUICK)[1] > 0.97


@pytest.mark.parametrize("mask", [IdentityMask(), AdditiveMask()], ids=lambda m: m.kind)
def test_the_identity_and_the_official_mask_stay_at_chance(mask: VideoMask) -> None:
    assert train_on_links(mask, seed=0, **_QUICK)[1] < 0.32


def test_the_log_mask_learns_it_and_the_needed_link_is_among_its_strongest(learnt: tuple[LinkedTokens, float]) -> None:
    task, accuracy = learnt
    assert accuracy > 0.97
    assert task.rank_of_link() <= 3  # of 132
    assert task.network.mask.sparsity() < 0.5  # it began at 0.88


def test_a_tenth_of_its_links_suffices_after_some_tuning(learnt: tuple[LinkedTokens, float]) -> None:
    task, _ = learnt
    tuning = {**_QUICK, "num_steps": 40}
    assert train_on_links(BinaryMask(budget_frac=0.1), seed=0, start=task, **tuning)[1] > 0.97


@pytest.mark.long
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_sum_of_both(seed: int) -> None:
    """As measured in tests/benchmarks/swinbert_links.py."""
    task, accuracy = train_on_links(LogMask(), seed)
    assert accuracy > 0.97
    assert task.rank_of_link() <= 3
    assert train_on_links(AdditiveMask(), seed)[1] < 0.32
    _, binary = train_on_links(BinaryMask(budget_frac=0.1), seed, start=task, num_steps=200)
    assert binary > 0.97
