"""What is worth watching about a batch of rollouts, by the path it is logged under."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from modules.parsing import parse_option
from modules.rl.advantages import zero_std
from modules.rl.rollout_phase import Trajectories


def rollout_metrics(
    trajectories: Trajectories, terms: Mapping[str, Tensor], reward: Tensor, seconds: Mapping[str, float]
) -> dict[str, Any]:
    """Means over the rollouts.

    Args:
        trajectories: of a batch.
        terms: of their reward by name, each (B, G).
        reward: (B, G), their sum.
        seconds: by part of the step.
    """
    rollouts, entropy = trajectories.rollouts, trajectories.policy.entropy().detach()
    metrics: dict[str, Any] = {
        "reward/total": reward.nanmean(),
        "reward/std": reward.std(dim=1).nanmean(),
        "reward/zero_std_frac": zero_std(reward).float().mean(),
        "reward/undecoded_frac": len(rollouts.undecoded) / len(rollouts.batch),
        "reward/unanswered_frac": len(rollouts.unanswered) / len(rollouts.batch),
        "policy/entropy_nats": entropy.mean(),
        "policy/effective_frames": entropy.exp().mean(),
        **{f"reward/{name}": term.nanmean() for name, term in terms.items()},
        **{f"time/{part}_s": value for part, value in seconds.items()},
    }
    if rollouts.selection.mask.logical_not().any():
        metrics["policy/shrunk_frac"] = (~rollouts.selection.mask.all(-1)).float().mean()
    if rollouts.costs is not None:
        flat = [cost for group in rollouts.costs for cost in group]
        metrics["cost/calls"] = sum(cost.calls for cost in flat) / len(flat)
        metrics["cost/frames_shown"] = sum(cost.frames_shown for cost in flat) / len(flat)
    if rollouts.queries is not None:
        written = [len(queries) for group in rollouts.queries for queries in group]
        metrics["queries/number"] = sum(written) / len(written)
        metrics["queries/unparsed_frac"] = written.count(0) / len(written)
    if rollouts.texts is not None:
        unread = [
            parse_option(text, question.options) is None
            for question, texts in zip(rollouts.batch.questions, rollouts.texts, strict=True)
            for text in texts
        ]
        metrics["reward/unparsed_frac"] = sum(unread) / len(unread)
    return metrics
