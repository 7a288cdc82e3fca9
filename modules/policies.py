"""Frame policies: distributions over ordered K-subsets of T candidate frames, one per question.

`PlackettLuce` draws frames one after another without replacement, each with probability proportional to exp(logit)
among the frames not yet drawn; Gumbel top-K draws all K at once from the same distribution (Kool et al. 2019).
Its joint log-probability is the sum of the per-draw ones and sums to one over all ordered subsets.
`IndependentDraws` draws alike but reports the log-probability that TSPO's official code uses.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from modules.records import Selection

Generators = torch.Generator | Sequence[torch.Generator] | None

_MASKED = -1e30  # finite: a logsumexp over nothing but -inf has no gradient


class FramePolicy(ABC):
    """A distribution over ordered selections of frames, for each of B questions."""

    @abstractmethod
    def sample(self, num_frames: int, num_rollouts: int, generator: Generators = None) -> Selection:
        """Draws G selections of K frames for each question, without graph.

        Args:
            num_frames: K; a question with fewer candidates gets all of them, in drawn order, then -1.
            num_rollouts: G.
            generator: one for the batch, or one for each question, whose draws then do not depend on the others.
        """

    @abstractmethod
    def log_prob(self, candidate_index: Tensor) -> Tensor:
        """Log-probability (nats) of each draw given those before it: int64 (B, G, K) -> float32 (B, G, K).

        Differentiable; 0 where the index is -1.
        """

    @abstractmethod
    def entropy(self) -> Tensor:
        """Entropy (nats) of the first draw, float32 (B,)."""

    @abstractmethod
    def log_prob_and_entropy(self, candidate_index: Tensor) -> tuple[Tensor, Tensor]:
        """`log_prob`, and the entropy (nats) of each draw given those before it; float32 (B, G, K) both.

        Differentiable; 0 where the index is -1.
        """

    @abstractmethod
    def mode(self, num_frames: int) -> Selection:
        """The K most probable frames, best first; (B, 1, K)."""


def _per_question(generator: Generators, num_questions: int) -> Sequence[torch.Generator | None]:
    return generator if isinstance(generator, Sequence) else [generator] * num_questions


class PlackettLuce(FramePolicy):
    """Draws without replacement in proportion to exp(logits).

    Args:
        logits: (B, T), nats.
        mask: bool (B, T), True at real candidates; padding is never drawn.
    """

    def __init__(self, logits: Tensor, mask: Tensor) -> None:
        if logits.shape != mask.shape or logits.ndim != 2:
            raise ValueError(f"logits {tuple(logits.shape)} and mask {tuple(mask.shape)} must both be (B, T)")
        if not mask.any(dim=1).all():
            raise ValueError("a question without any candidate frame has no policy")
        self.mask = mask
        self.logits = logits.float().masked_fill(~mask, _MASKED)

    @torch.no_grad()
    def sample(self, num_frames: int, num_rollouts: int, generator: Generators = None) -> Selection:
        num_questions, num_candidates = self.logits.shape
        noise = torch.ones(num_questions, num_rollouts, num_candidates, device=self.logits.device)
        own_generators = _per_question(generator, num_questions)
        for b, (own, real) in enumerate(zip(own_generators, self.mask.sum(1).tolist(), strict=True)):
            # drawn for the real candidates only, so that padding does not shift a question's stream
            noise[b, :, self.mask[b]] = noise.new_empty(num_rollouts, real).exponential_(generator=own)
        return self._top(self.logits[:, None] - noise.clamp_(min=1e-30).log_(), num_frames)

    @torch.no_grad()
    def mode(self, num_frames: int) -> Selection:
        return self._top(self.logits[:, None], num_frames)

    def _top(self, scores: Tensor, num_frames: int) -> Selection:
        scores = scores.masked_fill(~self.mask[:, None], -torch.inf)
        num_picks = min(num_frames, scores.shape[-1])
        best = scores.topk(num_picks, dim=-1)
        index = best.indices.masked_fill(best.values == -torch.inf, -1)
        index = torch.nn.functional.pad(index, (0, num_frames - num_picks), value=-1)
        return Selection(index, self.log_prob(index))

    def log_prob(self, candidate_index: Tensor) -> Tensor:
        # log p(i_k | i_<k) = l(i_k) - log(sum over frames not drawn before k of exp l)
        drawn = candidate_index >= 0
        index = candidate_index.clamp(min=0)
        picked = self.logits[:, None].expand(-1, index.shape[1], -1).gather(-1, index)
        return (picked - self._log_sum_of_left(self.logits, candidate_index)).masked_fill(~drawn, 0.0)

    def log_prob_and_entropy(self, candidate_index: Tensor) -> tuple[Tensor, Tensor]:
        # H_k = log Z - sum p l = log Z + (sum -l exp l) / Z over the frames left at draw k. Logits are shifted to -1 or
        # less, which changes no H_k, so that the second sum has positive terms and can be kept as its logarithm.
        logits = self.logits - self.logits.detach().amax(-1, keepdim=True) - 1.0
        log_z = self._log_sum_of_left(logits, candidate_index)
        log_sum = self._log_sum_of_left(logits + (-logits).log(), candidate_index)
        entropy = log_z + (log_sum - log_z).exp()
        return self.log_prob(candidate_index), entropy.masked_fill(candidate_index < 0, 0.0)

    @staticmethod
    def _log_sum_of_left(values: Tensor, candidate_index: Tensor) -> Tensor:
        """log sum of exp(values), (B, T), over the frames not drawn before draw k: (B, G, K).

        Those are the frames never drawn plus draws k..K, so one masked logsumexp and a running one from the end do.
        """
        drawn = candidate_index >= 0
        index = candidate_index.clamp(min=0)
        picked = values[:, None].expand(-1, index.shape[1], -1).gather(-1, index).masked_fill(~drawn, _MASKED)
        ever = torch.zeros(*index.shape[:2], values.shape[1], dtype=torch.int8, device=index.device)
        ever = ever.scatter_add_(-1, index, drawn.to(torch.int8)) > 0
        rest = values[:, None].masked_fill(ever, _MASKED).logsumexp(-1, keepdim=True)
        from_end = picked.flip(-1).logcumsumexp(-1).flip(-1)
        return torch.logaddexp(from_end, rest)

    def entropy(self) -> Tensor:
        log_p = self.logits.log_softmax(-1)
        return -(log_p.exp() * log_p).masked_fill(~self.mask, 0.0).sum(-1)


class IndependentDraws(PlackettLuce):
    """Draws without replacement but counts each draw as independent and with replacement.

    # paper (eq. 5): product of the K probabilities; official code: log softmax(l)[i_k] over all T for every k, averaged
    # over k in the loss; here: the same per-draw values, averaged over k by the ``grpo`` loss. It is no score function
    # of the sampling distribution: its expectation differs from zero once the policy sharpens.
    """

    def log_prob(self, candidate_index: Tensor) -> Tensor:
        drawn = candidate_index >= 0
        log_p = self.logits.log_softmax(-1)[:, None].expand(-1, candidate_index.shape[1], -1)
        return log_p.gather(-1, candidate_index.clamp(min=0)).masked_fill(~drawn, 0.0)
