"""What rules over anybody's scores share: the distribution stays the scorer's, the rule chooses its best K frames.

Over CLIP similarities such rules are baselines; over TSPO's scores they are what its official code does on Video-MME
(`modules.methods.training_free.bin_max`) or offers (`modules.methods.training_free.aks`).
"""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from modules.methods.training_free.top_k import TopK
from modules.records import Selection
from modules.selection.base import FrameSampler
from modules.selection.policies import PlackettLuce


class _Ruled(PlackettLuce):
    """A scorer's policy whose mode a rule chooses."""

    scores: Tensor

    def __init__(self, logits: Tensor, mask: Tensor, scores: Tensor, rule: ScoredRule) -> None:
        super().__init__(logits, mask)
        self.scores, self.rule = scores, rule

    @torch.no_grad()
    def mode(self, num_frames: int) -> Selection:
        rows = []
        for scores, real in zip(self.scores.cpu(), self.mask.cpu(), strict=True):  # rules decide step by step
            chosen = self.rule.choose(scores[real], num_frames)
            best_first = chosen[scores[real][chosen].argsort(descending=True, stable=True)]
            rows.append(torch.nn.functional.pad(best_first, (0, num_frames - len(best_first)), value=-1))
        index = torch.stack(rows)[:, None].to(self.mask.device)
        return Selection(index, self.log_prob(index))


class ScoredRule(FrameSampler):
    """A rule that chooses by the scores of a sampler, which learns nothing here.

    Args:
        scorer: whose scores are taken; CLIP similarity by default.
    """

    def __init__(self, *, scorer: FrameSampler | None = None) -> None:
        super().__init__()
        self.scorer = scorer or TopK()

    @abstractmethod
    def choose(self, scores: Tensor, num_frames: int) -> Tensor:
        """Scores float (T,) of one video -> distinct candidate indices, at most ``num_frames`` of them."""

    def forward(self, features: Tensor, mask: Tensor, timestamps_s: Tensor, queries: Tensor) -> PlackettLuce:
        policy = self.scorer(features, mask, timestamps_s, queries)
        scores = self.scorer.scores_behind(policy, features, mask, timestamps_s, queries)
        if scores is None or not isinstance(policy, PlackettLuce):
            raise ValueError(f"{type(self.scorer).__name__} scores no frames, so there is nothing to choose by")
        return _Ruled(policy.logits, mask, scores, self)

    def scores(self, features: Tensor, mask: Tensor, timestamps_s: Tensor, queries: Tensor) -> Tensor | None:
        return self.scorer.scores(features, mask, timestamps_s, queries)
