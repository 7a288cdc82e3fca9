"""Gumbel top-K with a straight-through gradient (VideoStreaming, section 3.2), as a pure function of scores.

The paper names Gumbel top-K and a differentiable index and says no more. Here draw k is what
`torch.nn.functional.gumbel_softmax` with ``hard=True`` makes of the clips not drawn before it:

    forward  e_{i_k},  i_k = argmax over j not in i_<k of (l_j + g_j)
    backward softmax over j not in i_<k of (l_j + g_j) / tau

with one Gumbel noise g for all draws, so that the draws are those of a Plackett-Luce distribution.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from modules.selection.policies import Generators, gumbel_noise

_MASKED = -1e30  # finite: a softmax over nothing but -inf has no gradient


@dataclass(frozen=True)
class StraightThroughDraws:
    """G draws of V clips for each of B questions, in order of time."""

    rows: Tensor
    """float32 (B, G, V, N), one-hot with the gradient of a softmax; zero where a question has fewer clips."""
    candidate_index: Tensor
    """int64 (B, G, V), increasing, -1 at the end where a question has fewer clips."""


def straight_through_top_k(
    logits: Tensor,
    mask: Tensor,
    num_clips: int,
    *,
    temperature: float = 1.0,
    num_rollouts: int = 1,
    generator: Generators = None,
) -> StraightThroughDraws:
    """Draws V clips without replacement; ``rows @ memories`` is what was drawn, with gradient to the scores.

    Args:
        logits: (B, N), nats, of any precision.
        mask: bool (B, N), True at real clips.
        num_clips: V.
        temperature: tau of the softmax whose gradient is taken; the draws do not depend on it.
        num_rollouts: G.
        generator: one for the batch, or one for each question.
    """
    noise = gumbel_noise(mask, num_rollouts, generator)
    perturbed = (logits.float().masked_fill(~mask, _MASKED)[:, None] + noise)[:, :, None]
    num_draws = min(num_clips, logits.shape[1])
    drawn = perturbed.detach()[:, :, 0].topk(num_draws, dim=-1).indices
    one_hot = torch.nn.functional.one_hot(drawn, logits.shape[1])
    before = one_hot.cumsum(2) > one_hot
    soft = (perturbed.masked_fill(before, _MASKED) / temperature).softmax(-1)
    present = mask[:, None].expand(-1, num_rollouts, -1).gather(-1, drawn)
    rows = (one_hot + (soft - soft.detach())) * present[..., None]
    order = drawn.masked_fill(~present, logits.shape[1]).sort(-1)
    rows = rows.gather(2, order.indices[..., None].expand_as(rows))
    index = order.values.masked_fill(order.values == logits.shape[1], -1)
    missing = num_clips - num_draws
    return StraightThroughDraws(
        torch.nn.functional.pad(rows, (0, 0, 0, missing)), torch.nn.functional.pad(index, (0, missing), value=-1)
    )
