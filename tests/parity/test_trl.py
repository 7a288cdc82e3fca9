"""Loss and gradient equal those of TRL's GRPOTrainer on the same tensors (trl 1.16), for every loss type we offer.

The trainer's own ``_compute_loss`` runs on a stand-in that has just the fields it reads. One mutation must be caught.
"""

from __future__ import annotations

import itertools

import pytest
import torch
from trl_oracle import trl_loss

from modules.rl.advantages import group_advantages, nanstd
from modules.rl.grpo import GRPO, grpo_loss

N, L, MAX_LENGTH = 6, 5, 9


def tensors(seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    log_probs = -torch.rand(N, L, generator=generator) * 3
    old = log_probs + 0.4 * torch.randn(N, L, generator=generator)
    reference = log_probs + 0.3 * torch.randn(N, L, generator=generator)
    mask = (torch.arange(L)[None] < torch.tensor([[5], [3], [1], [5], [4], [2]])).float()
    return log_probs, old, reference, torch.randn(N, generator=generator), mask


CONFIGS = [
    {"loss_type": t, "importance_sampling_level": level, "beta": beta, "epsilon": 0.2, "epsilon_high": high}
    for t, level, beta, high in itertools.product(
        ["grpo", "bnpo", "dr_grpo", "dapo", "cispo", "sapo"], ["token", "sequence"], [0.0, 0.04], [None, 0.28]
    )
] + [{"loss_type": "grpo", "delta": 1.1}, {"loss_type": "grpo", "beta": 0.1, "use_bias_correction_kl": False}]


@pytest.mark.parametrize("settings", CONFIGS, ids=lambda s: "-".join(str(v) for v in s.values()))
def test_loss_and_gradient_equal_trl(settings: dict) -> None:
    config = GRPO(**settings)
    log_probs, old, reference, advantages, mask = tensors()
    ours_in, theirs_in = (log_probs.clone().requires_grad_() for _ in range(2))
    ours = grpo_loss(config, ours_in, old, advantages, mask, ref_log_probs=reference, max_length=MAX_LENGTH).loss
    theirs = trl_loss(config, theirs_in, old, reference, advantages, mask, torch.zeros(N, L), max_length=MAX_LENGTH)
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(*(torch.autograd.grad(loss, x)[0] for loss, x in ((ours, ours_in), (theirs, theirs_in))))


@pytest.mark.parametrize("loss_type", ["grpo", "bnpo", "dr_grpo", "dapo", "cispo", "sapo"])
def test_an_update_over_ranks_and_batches_of_unlike_lengths_equals_trls(loss_type: str) -> None:
    """Two ranks of two micro-batches, of 3 to 20 positions; ranks' gradients are averaged, batches' added."""
    config, num_ranks, num_batches = GRPO(loss_type=loss_type), 2, 2
    log_probs, old, reference, advantages, _ = tensors()
    masks = [
        (torch.arange(L)[None] < torch.tensor(lengths)[:, None]).float()
        for lengths in ([5, 5, 4, 3, 2, 1], [1, 1, 1, 0, 0, 0], [3, 3, 3, 3, 3, 3], [5, 0, 0, 0, 0, 1])
    ]
    num_items = torch.stack(masks).sum()
    ours_in, theirs_in = (log_probs.clone().requires_grad_() for _ in range(2))
    ours = theirs = torch.zeros(())
    for mask in masks:
        loss = grpo_loss(config, ours_in, old, advantages, mask, max_length=MAX_LENGTH, num_items=num_items / num_ranks)
        ours = ours + loss.loss * config.share_of_update(1 / num_batches) / num_ranks
        nothing = torch.zeros(N, L)
        theirs = (
            theirs
            + trl_loss(
                config,
                theirs_in,
                old,
                reference,
                advantages,
                mask,
                nothing,
                max_length=MAX_LENGTH,
                num_items=num_items,
                num_processes=num_ranks,
                num_batches=num_batches,
            )
            / num_ranks
        )
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(*(torch.autograd.grad(loss, x)[0] for loss, x in ((ours, ours_in), (theirs, theirs_in))))


@pytest.mark.parametrize("mutate", ["sign", "mask", "old"])
def test_a_mutation_is_caught(mutate: str) -> None:
    config = GRPO(loss_type="grpo")
    log_probs, old, reference, advantages, mask = tensors()
    theirs = trl_loss(config, log_probs, old, reference, advantages, mask, torch.zeros(N, L), max_length=MAX_LENGTH)
    changed = {
        "sign": (old, -advantages, mask),
        "mask": (old, advantages, torch.ones_like(mask)),
        "old": (log_probs, advantages, mask),
    }
    other = grpo_loss(config, log_probs, changed[mutate][0], changed[mutate][1], changed[mutate][2]).loss
    assert not torch.allclose(other, theirs)


def test_entropy_bonus_equals_trl_when_every_position_counts() -> None:
    log_probs, old, reference, advantages, _ = tensors()
    mask, entropies = torch.ones(N, L), torch.rand(N, L)
    theirs = trl_loss(
        GRPO(loss_type="grpo"),
        log_probs,
        old,
        reference,
        advantages,
        mask,
        entropies,
        entropy_coef=0.01,
        max_length=MAX_LENGTH,
    )
    ours = grpo_loss(GRPO(loss_type="grpo"), log_probs, old, advantages, mask).loss - 0.01 * entropies.mean()
    torch.testing.assert_close(ours, theirs)


def test_standard_deviations_equal_trls() -> None:
    from trl.trainer.utils import nanstd as theirs

    rewards = torch.rand(5, 8)
    rewards[1, :3], rewards[2, :7], rewards[3], rewards[4] = torch.nan, torch.nan, torch.nan, 0.5
    torch.testing.assert_close(nanstd(rewards, dim=1), theirs(rewards, dim=1), equal_nan=True)
    torch.testing.assert_close(nanstd(rewards), theirs(rewards))


@pytest.mark.parametrize("scale", ["group", "batch", "none"])
def test_advantages_equal_trl(scale: str) -> None:
    # TRL computes these inside its generation step; the three lines below are that computation by its own helper
    from trl.trainer.utils import nanstd

    rewards = torch.rand(4, 8)
    mean = rewards.mean(1, keepdim=True)
    std = {"group": nanstd(rewards, dim=1)[:, None] + 1e-4, "batch": nanstd(rewards) + 1e-4, "none": torch.ones(())}[
        scale
    ]
    torch.testing.assert_close(group_advantages(rewards, scale), (rewards - mean) / std)
