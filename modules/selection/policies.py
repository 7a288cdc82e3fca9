"""Frame policies: distributions over ordered K-subsets of T candidate frames, one per question.

`PlackettLuce` draws frames one after another without replacement, each with probability proportional to exp(logit)
among the frames not yet drawn; Gumbel top-K draws all K at once from the same distribution (Kool et al. 2019).
Its joint log-probability is the sum of the per-draw ones and sums to one over all ordered subsets.
`IndependentDraws` draws alike but reports the log-probability that TSPO's official code uses.
`Autoregressive` asks a decoder before every draw, so that what was drawn can change what is looked for next (ReFoCUS).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Protocol, Self

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from modules.records import Selection

Generators = torch.Generator | Sequence[torch.Generator] | None

_MASKED = -1e30  # finite: a logsumexp over nothing but -inf has no gradient
_LOGITS_AT_ONCE = 2**26  # of a teacher-forced pass; more are computed piece by piece, and again in the backward pass


class FramePolicy(ABC):
    """A distribution over ordered selections of frames, for each of B questions."""

    scores: Tensor | None = None
    """Float32 (B, T), without graph: what the sampler thought of each candidate, where its policy is made of that."""

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


@torch.no_grad()
def gumbel_noise(mask: Tensor, num_rollouts: int, generator: Generators = None) -> Tensor:
    """Standard Gumbel noise, -log(E) of an exponential E, float32 (B, G, T).

    Args:
        mask: bool (B, T), True at real candidates; only for these is noise drawn, so that padding does not shift a
            question's stream, and it is 0 elsewhere.
        num_rollouts: G.
        generator: one for the batch, or one for each question.
    """
    num_questions, num_candidates = mask.shape
    drawn = torch.ones(num_questions, num_rollouts, num_candidates, device=mask.device)
    own_generators = _per_question(generator, num_questions)
    for b, (own, real) in enumerate(zip(own_generators, mask.sum(1).tolist(), strict=True)):
        drawn[b, :, :real] = drawn.new_empty(num_rollouts, real).exponential_(generator=own)
    real_first = mask.int().argsort(dim=1, descending=True, stable=True)[:, None].expand_as(drawn)
    noise = torch.empty_like(drawn).scatter_(2, real_first, drawn)
    return noise.clamp_(min=1e-30).log_().neg_()


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

    @classmethod
    def of_scores(cls, scores: Tensor, temperature: float, mask: Tensor) -> Self:
        """The policy with ``logits = scores / temperature``, which remembers the scores.

        Args:
            scores: (B, T) of the candidates.
            temperature: above 0.
            mask: bool (B, T), True at real candidates.
        """
        policy = cls(scores / temperature, mask)
        policy.scores = scores.detach()
        return policy

    @torch.no_grad()
    def sample(self, num_frames: int, num_rollouts: int, generator: Generators = None) -> Selection:
        return self._top(self.logits[:, None] + gumbel_noise(self.mask, num_rollouts, generator), num_frames)

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


class PointerDecoder(Protocol):
    """What looks for the next frame of B questions, given those drawn so far; vectors are of the keys' width d."""

    def start(self, num_rollouts: int) -> tuple[Tensor, Any]:
        """Without graph: what each of G rollouts looks for first, (B, G, d), and a state to go on from."""

    def step(self, candidate_index: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Without graph: what is looked for after a draw (B, G), and the state after it."""

    def queries(self, candidate_index: Tensor) -> Tensor:
        """With graph, in one pass: what is looked for at each draw of (B, G, K) given those before it, (B, G, K, d)."""


class Autoregressive(FramePolicy):
    """Draws frames one after another, each from a softmax over <query_k, key_t> of the frames not yet drawn.

    The decoder makes query_k from the draws before k (ReFoCUS, sec. 3). Two passes: a rollout step by step without
    graph, then all log-probabilities in one teacher-forced pass with graph. # official code: draws with replacement by
    default, without at evaluation; here: always without, as the shared contract has it.

    Args:
        keys: (B, T, d) of the candidates; shared by all rollouts.
        mask: bool (B, T), True at real candidates; padding is never drawn.
        decoder: of these B questions; scale and temperature are in its queries.
    """

    def __init__(self, keys: Tensor, mask: Tensor, decoder: PointerDecoder) -> None:
        if keys.shape[:2] != mask.shape or keys.ndim != 3:
            raise ValueError(f"keys {tuple(keys.shape)} must be (B, T, d) and mask {tuple(mask.shape)} (B, T)")
        if not mask.any(dim=1).all():
            raise ValueError("a question without any candidate frame has no policy")
        self.keys, self.mask, self.decoder = keys.float(), mask, decoder

    @torch.no_grad()
    def sample(self, num_frames: int, num_rollouts: int, generator: Generators = None) -> Selection:
        # one uniform number a draw picks from the cumulative distribution: padding, which is last, cannot shift it
        shape, device = (num_rollouts, num_frames), self.keys.device
        uniform = torch.stack(
            [
                torch.rand(shape, generator=own, device=device, dtype=torch.float64)
                for own in _per_question(generator, len(self.keys))
            ]
        )

        def draw(k: int, log_p: Tensor) -> Tensor:
            cumulative = log_p.double().exp().cumsum(-1)
            threshold = uniform[:, :, k, None] * cumulative[..., -1:] * (1 - 1e-12)
            return torch.searchsorted(cumulative, threshold, right=True)[..., 0]

        return self._roll_out(num_frames, num_rollouts, draw)

    @torch.no_grad()
    def mode(self, num_frames: int) -> Selection:
        """Greedy: the most probable frame at each draw, in the order drawn; (B, 1, K)."""
        return self._roll_out(num_frames, 1, lambda k, log_p: log_p.argmax(-1))

    def _roll_out(self, num_frames: int, num_rollouts: int, draw: Callable[[int, Tensor], Tensor]) -> Selection:
        num_questions, num_candidates = self.mask.shape
        index = torch.full((num_questions, num_rollouts, num_frames), -1, device=self.keys.device)
        log_probs = torch.zeros(index.shape, device=self.keys.device)
        left = self.mask[:, None].repeat(1, num_rollouts, 1)
        query, state = self.decoder.start(num_rollouts)
        for k in range(min(num_frames, num_candidates)):
            log_p = self._logits(query).masked_fill(~left, _MASKED).log_softmax(-1)
            any_left = left.any(-1)
            pick = draw(k, log_p).masked_fill(~any_left, 0)[..., None]
            index[..., k] = pick[..., 0].masked_fill(~any_left, -1)
            log_probs[..., k] = log_p.gather(-1, pick)[..., 0].masked_fill(~any_left, 0.0)
            left.scatter_(-1, pick, False)
            if k + 1 < num_frames:
                query, state = self.decoder.step(pick[..., 0], state)
        return Selection(index, log_probs)

    def log_prob(self, candidate_index: Tensor) -> Tensor:
        return self.log_prob_and_entropy(candidate_index)[0]

    def log_prob_and_entropy(self, candidate_index: Tensor) -> tuple[Tensor, Tensor]:
        queries = self.decoder.queries(candidate_index)
        num_questions, num_rollouts, num_draws = candidate_index.shape
        size = max(1, _LOGITS_AT_ONCE // (num_questions * num_draws * self.mask.shape[1]))
        if size >= num_rollouts:
            return self._score(queries, candidate_index)
        parts = [
            checkpoint(self._score, q, i, use_reentrant=False)
            for q, i in zip(queries.split(size, 1), candidate_index.split(size, 1), strict=True)
        ]
        log_probs, entropies = zip(*parts, strict=True)
        return torch.cat(log_probs, 1), torch.cat(entropies, 1)

    def entropy(self) -> Tensor:
        first = torch.zeros(len(self.keys), 1, 1, dtype=torch.int64, device=self.keys.device)
        return self._score(self.decoder.queries(first), first)[1][:, 0, 0]

    def _score(self, queries: Tensor, candidate_index: Tensor) -> tuple[Tensor, Tensor]:
        """Log-probability and entropy of each draw, (B, G, K) both, given what is looked for at each."""
        drawn, index = candidate_index >= 0, candidate_index.clamp(min=0)[..., None]
        logits = self._logits(queries)
        picked = torch.zeros_like(logits, dtype=torch.int8).scatter_(-1, index, drawn[..., None].to(torch.int8))
        earlier = picked.cumsum(2, dtype=torch.int8) > picked
        log_p = logits.masked_fill(earlier | ~self.mask[:, None, None], _MASKED).log_softmax(-1)
        entropy = -(log_p.exp() * log_p).sum(-1)
        return log_p.gather(-1, index)[..., 0].masked_fill(~drawn, 0.0), entropy.masked_fill(~drawn, 0.0)

    def _logits(self, queries: Tensor) -> Tensor:
        """(B, G, d) or (B, G, K, d) -> over candidates, float32 (..., T), padding not yet masked."""
        with torch.autocast(queries.device.type, enabled=False):
            flat = queries.float().flatten(1, -2)
            return torch.matmul(flat, self.keys.transpose(1, 2)).unflatten(1, queries.shape[1:-1])
