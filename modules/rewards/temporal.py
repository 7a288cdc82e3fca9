"""Share of the chosen frames that lie inside the evidence (TSPO's R_T, temporal locating)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from modules.records import Rollouts
from modules.rewards.base import Reward


class TemporalLocating(Reward):
    """Fraction of picks inside an evidence span; NaN for questions without spans (official code: a constant 1)."""

    needs_options = False

    def __call__(self, rollouts: Rollouts) -> Tensor:
        picks, batch = rollouts.selection.candidate_index, rollouts.batch
        if any(c.clip_times_s is not None for c in batch.candidates):
            return self._of_clips(rollouts)
        own_spans = [torch.tensor(q.evidence_s).reshape(-1, 2) for q in batch.questions]
        # (B, S, 2); nothing lies inside a span that is not there
        spans = nn.utils.rnn.pad_sequence(own_spans, batch_first=True, padding_value=torch.nan).to(picks.device)
        times = batch.timestamps_s[:, None].expand(-1, picks.shape[1], -1).gather(2, picks.clamp(min=0))
        start, end = spans[:, None, None].unbind(-1)  # (B, 1, 1, S)
        inside = ((times[..., None] >= start) & (times[..., None] < end)).any(-1)
        real = picks >= 0
        share = (inside & real).sum(-1) / real.sum(-1).clamp(min=1)
        known = torch.tensor([bool(q.evidence_s) for q in batch.questions], device=picks.device)
        return share.masked_fill(~known[:, None], torch.nan)

    @staticmethod
    def _of_clips(rollouts: Rollouts) -> Tensor:
        """The same where candidates are clips: those count of which a frame lies inside."""
        picks, batch = rollouts.selection.candidate_index, rollouts.batch
        inside = torch.zeros(batch.mask.shape, dtype=torch.bool)
        for b, (question, candidates) in enumerate(zip(batch.questions, batch.candidates, strict=True)):
            for start, end in question.evidence_s:
                inside[b, : len(candidates)] |= candidates.within(start, end)
        real = picks >= 0
        picked = inside.to(picks.device)[:, None].expand(-1, picks.shape[1], -1).gather(2, picks.clamp(min=0))
        share = (picked & real).sum(-1) / real.sum(-1).clamp(min=1)
        known = torch.tensor([bool(q.evidence_s) for q in batch.questions], device=picks.device)
        return share.masked_fill(~known[:, None], torch.nan)
