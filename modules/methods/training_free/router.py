"""Router: questions about the whole video get evenly spaced frames, the others those of another sampler."""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
from torch import Tensor

from modules.methods.training_free.top_k import TopK
from modules.methods.training_free.uniform import Uniform
from modules.records import QuestionBatch, Selection, VideoQuestion
from modules.selection.base import FrameSampler
from modules.selection.policies import FramePolicy, PlackettLuce

ABOUT_ALL = (
    r"\bmain(ly)?\b",
    r"\b(overall|throughout)\b",
    r"\bsummar(y|ies|i[sz]es?|i[sz]ed)\b",
    r"\b(primary|central|general) (focus|theme|topic|purpose|idea|message)\b",
    r"\b(theme|topic|genre|title|moral) of (the|this) video\b",
    r"\b(whole|entire) video\b",
    r"\bwhat is (the|this) video about\b",
    r"\bwhich of (the following|these)\b.*\b(not|never|isn't|doesn't)\b",
)
"""Of our own making, after the two kinds that DIG's prompt describes: summaries, and what was not mentioned."""


class _Routed(PlackettLuce):
    """Rows of one policy or of another."""

    def __init__(self, others: PlackettLuce, even: PlackettLuce, about_all: Tensor) -> None:
        super().__init__(torch.where(about_all[:, None], even.logits, others.logits), others.mask)
        self.others, self.even, self.about_all, self.scores = others, even, about_all, others.scores

    @torch.no_grad()
    def mode(self, num_frames: int) -> Selection:
        chosen, even = self.others.mode(num_frames), self.even.mode(num_frames).candidate_index
        index = torch.where(self.about_all[:, None, None], even, chosen.candidate_index)
        looked_at = chosen.looked_at or tuple(row.nonzero().flatten().cpu() for row in self.mask)
        none = torch.empty(0, dtype=torch.int64)
        return Selection(
            index,
            self.log_prob(index),
            looked_at=tuple(none if all_ else own for all_, own in zip(self.about_all, looked_at, strict=True)),
        )


class Router(FrameSampler):
    """Asks of each question whether it is about the whole video: by its words, or by a label of the data set.

    DIG asks a language model; words cost nothing and can be read in the recipe.

    Args:
        sampler: for questions about a part of the video; CLIP top-k by default.
        patterns: regular expressions, in any case; a question that has one of them is about the whole video.
        groups: labels that say so, e.g. ``{"task_type": ["Information Synopsis"]}``.
    """

    def __init__(
        self,
        *,
        sampler: FrameSampler | None = None,
        patterns: Sequence[str] = ABOUT_ALL,
        groups: dict[str, list[str]] | None = None,
    ) -> None:
        super().__init__()
        self.sampler, self.even, self.groups = sampler or TopK(), Uniform(), groups or {}
        try:
            self.patterns = [re.compile(pattern, re.IGNORECASE) for pattern in patterns]
        except re.error as error:
            raise ValueError(f"patterns: {error.pattern!r} is no regular expression: {error}") from error

    def about_all(self, question: VideoQuestion) -> bool:
        """Whether a question is about the whole video."""
        for name, labels in self.groups.items():
            own = question.groups.get(name, ())
            if {own} & set(labels) if isinstance(own, str) else set(own) & set(labels):
                return True
        return any(pattern.search(question.question) for pattern in self.patterns)

    def forward(self, features: Tensor, mask: Tensor, timestamps_s: Tensor, queries: Tensor) -> FramePolicy:
        raise TypeError("a router reads questions, not features; call `policies`")

    def policies(self, batch: QuestionBatch) -> FramePolicy:
        others, even = self.sampler.policies(batch), self.even.policies(batch)
        if not isinstance(others, PlackettLuce) or not isinstance(even, PlackettLuce):
            raise ValueError(f"{type(self.sampler).__name__} picks one frame after another, which no router can mix")
        about_all = torch.tensor([self.about_all(q) for q in batch.questions], device=batch.mask.device)
        return _Routed(others, even, about_all)

    def scores(self, features: Tensor, mask: Tensor, timestamps_s: Tensor, queries: Tensor) -> Tensor | None:
        return self.sampler.scores(features, mask, timestamps_s, queries)
