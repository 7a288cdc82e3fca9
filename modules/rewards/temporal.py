"""Share of the chosen frames that lie inside the evidence (TSPO's R_T, temporal locating)."""

from __future__ import annotations

import torch
from torch import Tensor

from modules.records import Rollouts
from modules.rewards.base import Reward


class TemporalLocating(Reward):
    """Fraction of picks inside an evidence span; NaN for questions without spans (official code: a constant 1)."""

    name = "temporal"
    needs_options = False

    def __call__(self, rollouts: Rollouts) -> Tensor:
        picks = rollouts.selection.candidate_index.cpu()
        rewards = torch.full(picks.shape[:2], torch.nan)
        for b, question in enumerate(rollouts.batch.questions):
            if not question.evidence_s:
                continue
            times = rollouts.batch.timestamps_s[b].cpu()[picks[b].clamp(min=0)]
            inside = torch.zeros_like(times, dtype=torch.bool)
            for start, end in question.evidence_s:
                inside |= (times >= start) & (times < end)
            real = picks[b] >= 0
            rewards[b] = (inside & real).sum(-1) / real.sum(-1).clamp(min=1)
        return rewards
