"""What rules without training share: the distribution stays the scorer's, the rule chooses its best K frames.

A rule sees `RatedFrames` of one question at a time, on the host, because rules decide step by step. Its scores are CLIP
similarities unless a recipe names another sampler as ``scorer``; over TSPO's scores such rules are what its official
code does on Video-MME (`modules.methods.training_free.bin_max`) or offers (`modules.methods.training_free.aks`). Scores
of a trained system that stands beside it, or of the model that answers, come through
`modules.methods.training_free.by_rule` and `modules.methods.training_free.rated_by_model`.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from modules.methods.training_free.ranking import Frames, best
from modules.methods.training_free.rated_frames import RatedFrames
from modules.methods.training_free.top_k import TopK
from modules.records import QuestionBatch, Selection
from modules.seeds import seed_of
from modules.selection.base import FrameSampler
from modules.selection.policies import PlackettLuce


class RuledPolicy(PlackettLuce):
    """A scorer's policy whose mode a rule chooses.

    Args:
        logits: (B, T) of the scorer.
        mask: bool (B, T).
        scores: (B, T) of the scorer, where there is one.
        frames: what the rule sees of each question.
        rule: chooses.
    """

    def __init__(
        self, logits: Tensor, mask: Tensor, scores: Tensor | None, frames: list[RatedFrames], rule: Rule
    ) -> None:
        super().__init__(logits, mask)
        self.scores, self.frames, self.rule = scores, frames, rule

    @torch.no_grad()
    def mode(self, num_frames: int) -> Selection:
        selection = chosen_by(self.rule, self.frames, self.mask, num_frames)
        return Selection(
            selection.candidate_index, self.log_prob(selection.candidate_index), looked_at=selection.looked_at
        )


class Rule(FrameSampler):
    """Chooses frames by the scores of a sampler, by their features, or by both; learns nothing.

    Args:
        scorer: whose scores are taken; CLIP similarity by default.
    """

    uses_scores: ClassVar[bool] = True
    """Whether it needs a scorer; the others take one only to say which of their frames are worth most."""
    uses_features: ClassVar[bool] = False
    """Whether it compares frames with each other, so that every candidate has to be encoded."""
    best_first: ClassVar[bool] = False
    """Whether `choose` gives the frames in their order of worth; else that is the order of their scores."""
    seed: int = 0
    """Of draws, beside the question's name."""

    def __init__(self, *, scorer: FrameSampler | None = None) -> None:
        super().__init__()
        self.scorer = TopK() if scorer is None and self.uses_scores else scorer

    @abstractmethod
    def choose(self, frames: RatedFrames, num_frames: int) -> Frames:
        """Distinct candidates of one video, exactly ``num_frames`` of them, which is below their number.

        Rules that follow their official code in this (``compat: official``) may give fewer.
        """

    def select(self, frames: RatedFrames, num_frames: int) -> Frames:
        """At most ``num_frames`` candidates, best first; all of them where there are not more."""
        few = len(frames) <= num_frames
        chosen = np.arange(len(frames)) if few else self.choose(frames, num_frames)
        if self.best_first:
            return chosen
        chosen = np.sort(chosen)  # so that of equal ones the earlier comes first
        return chosen[best(frames.rate(chosen), len(chosen))]

    def forward(self, features: Tensor, mask: Tensor, timestamps_s: Tensor, queries: Tensor) -> RuledPolicy:
        logits = torch.zeros(mask.shape, device=mask.device)
        scores, shown = None, logits
        if self.scorer is not None:
            policy = self.scorer(features, mask, timestamps_s, queries)
            scores = self.scorer.scores_behind(policy, features, mask, timestamps_s, queries)
            if scores is None or not isinstance(policy, PlackettLuce):
                raise ValueError(f"{type(self.scorer).__name__} scores no frames, so there is nothing to choose by")
            logits, shown = policy.logits, scores
        return RuledPolicy(logits, mask, scores, seen_by(self, shown, features, mask, timestamps_s), self)

    def policies(self, batch: QuestionBatch) -> RuledPolicy:
        policy: RuledPolicy = self(batch.features, batch.mask, batch.timestamps_s, batch.queries)
        for frames, question in zip(policy.frames, batch.questions, strict=True):
            frames.seed = seed_of(f"{self.seed}/{question.sample_id}")
        return policy

    def scores(self, features: Tensor, mask: Tensor, timestamps_s: Tensor, queries: Tensor) -> Tensor | None:
        return None if self.scorer is None else self.scorer.scores(features, mask, timestamps_s, queries)

    @property
    def asks_alone(self) -> bool:
        """Whether a frame that it does not ask about need not be encoded."""
        return not self.uses_features and self.scorer is not None and self.scorer.scores_frames_alone


def seen_by(rule: Rule, scores: Tensor, features: Tensor, mask: Tensor, timestamps_s: Tensor) -> list[RatedFrames]:
    """What a rule sees of B questions whose scores (B, T) are known."""
    rows = []
    for own, frames, real, times_s in zip(scores.cpu(), features, mask, timestamps_s, strict=True):
        seen = frames[real].flatten(1) if rule.uses_features else frames.new_empty(int(real.sum()), 0)
        rows.append(RatedFrames.of(own[real.cpu()], seen, times_s[real]))
    return rows


def chosen_by(rule: Rule, frames: list[RatedFrames], mask: Tensor, num_frames: int) -> Selection:
    """(B, 1, K) candidates that a rule chooses, best first, and which ones it looked at.

    Args:
        rule: chooses.
        frames: what it sees of each question: the real candidates.
        mask: bool (B, T), True at those.
        num_frames: K.
    """
    rows, looked_at = [], []
    for own, real in zip(frames, mask.cpu(), strict=True):
        places = real.nonzero().flatten()
        chosen = places[torch.from_numpy(rule.select(own, num_frames))]
        rows.append(torch.nn.functional.pad(chosen, (0, num_frames - len(chosen)), value=-1))
        looked_at.append(places[torch.from_numpy(own.asked)] if rule.asks_alone else places)
    index = torch.stack(rows)[:, None].to(mask.device)
    return Selection(index, torch.zeros(index.shape, device=mask.device), looked_at=tuple(looked_at))
