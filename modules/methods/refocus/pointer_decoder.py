"""ReFoCUS (arXiv 2506.01274): a sequence model watches all frames, reads the question and points at frames in turn.

Sequence: [prompt head] frames, question, ``<sof>``, value of draw 1, value of draw 2, ... Frames come before the
question, so what is kept of a video (keys, values, state) serves every question about it. After ``<sof>`` and after
each draw the hidden vector gives a query, and the next frame is drawn from softmax(scale <query, key_t> / temperature)
over the frames not yet drawn.

The authors released evaluation code and weights, no training code. As there: key and query heads without bias, value
head with one, a learnt positive scale that starts at 1, heads that start orthogonal with gain 0.1, so that the policy
starts near uniform; a frame's hidden vector is that of its last token. Differences:

- frames are one frozen vector each ("lite"), or several patch tokens; then ``features`` is (B, T, P, D);
- the question is the encoder's text vectors, or with ``prompt`` the tokens of its text, as in the paper;
- lite has one vector for a question where the paper reads a hundred tokens, so each vector that is fed back also has
  the question's added (``remind``), and key and query head start as the same map (``aligned``): frames and texts of one
  encoder lie in one space, and what is alike then starts slightly preferred.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import torch
from jsonargparse.typing import PositiveFloat, PositiveInt
from torch import Tensor, nn

from modules.methods.refocus.backbones.base import SequenceBackbone, State
from modules.methods.refocus.question_prompt import QuestionPrompt
from modules.records import Candidates, QuestionBatch
from modules.selection.base import FrameSampler, ParameterGroup
from modules.selection.policies import Autoregressive

_VIDEOS_KEPT = 64


@dataclass(frozen=True)
class Watched:
    """What is kept of V videos, whatever is asked about them."""

    keys: Tensor
    """float32 (V, T, d)."""
    values: Tensor
    """float32 (V, T, d)."""
    state: State
    """Of the backbone after the last frame."""


class _Decoder:
    """Looks for the next frame of B questions; see `modules.selection.policies.PointerDecoder`.

    Args:
        sampler: whose heads and backbone.
        values: (B, T, d).
        first: (B, d), what is looked for first.
        state: after ``<sof>``.
        reminder: (B, d), added to every value that is fed back.
    """

    def __init__(self, sampler: ReFoCUSSampler, values: Tensor, first: Tensor, state: State, reminder: Tensor) -> None:
        self.sampler, self.values, self.first, self.state, self.reminder = sampler, values, first, state, reminder

    def start(self, num_rollouts: int) -> tuple[Tensor, State]:
        branched = self.sampler.backbone.branch(self.state, num_rollouts)
        return self.first[:, None].expand(-1, num_rollouts, -1), branched

    def step(self, candidate_index: Tensor, state: State) -> tuple[Tensor, State]:
        fed_back = self._values(candidate_index) + self.reminder[:, None]
        hidden, state = self.sampler.backbone.step(fed_back.flatten(0, 1), state)
        return self.sampler.look_for(hidden).unflatten(0, candidate_index.shape), state

    def queries(self, candidate_index: Tensor) -> Tensor:
        num_rollouts, num_draws = candidate_index.shape[1:]
        first = self.first[:, None, None].expand(-1, num_rollouts, -1, -1)
        if num_draws == 1:  # DDP wants a gradient, if only of zero, for every parameter
            return first + 0.0 * self.values.sum()
        earlier = candidate_index[..., :-1].clamp(min=0)
        fed_back = self._values(earlier.flatten(1)).unflatten(1, earlier.shape[1:]) + self.reminder[:, None, None]
        state = self.sampler.backbone.branch(self.state, num_rollouts)
        hidden = self.sampler.backbone.parallel(fed_back.flatten(0, 1), state)
        return torch.cat([first, self.sampler.look_for(hidden).unflatten(0, earlier.shape[:2])], 2)

    def _values(self, candidate_index: Tensor) -> Tensor:
        """Values of (B, N) candidates, (B, N, d)."""
        return self.values.gather(1, candidate_index[..., None].expand(-1, -1, self.values.shape[-1]))


class ReFoCUSSampler(FrameSampler):
    """The pointer decoder.

    Args:
        dim: feature width D.
        backbone: reads frames, question and draws.
        temperature: of the draws (paper: 1).
        head_gain: of the heads' orthogonal start (official code: 0.1, at width 2048). Logits grow with the width and
            with the square of this, so that a narrow one takes more to start as near to uniform.
        prompt: the question as tokens; None takes the encoder's text vectors.
        remind, aligned: see above; None is yes for text vectors and no for tokens.
        backbone_lr_share, scale_lr_share: the backbone and the scale learn at these multiples of the heads' learning
            rate. An optimizer that moves every number equally far a step, as Adam does, leaves one that has to grow
            tenfold behind matrices that only have to turn.
    """

    def __init__(
        self,
        *,
        dim: PositiveInt = 768,
        backbone: SequenceBackbone,
        temperature: PositiveFloat = 1.0,
        head_gain: PositiveFloat = 0.1,
        prompt: QuestionPrompt | None = None,
        remind: bool | None = None,
        aligned: bool | None = None,
        backbone_lr_share: PositiveFloat = 1.0,
        scale_lr_share: PositiveFloat = 1.0,
    ) -> None:
        super().__init__()
        width = backbone.width
        self.dim, self.temperature = dim, float(temperature)
        self.lr_shares = {"backbone": float(backbone_lr_share), "scale": float(scale_lr_share)}
        self.backbone, self.prompt = backbone, prompt
        self.remind = prompt is None if remind is None else remind
        self.frame_in = nn.Linear(dim, width)
        self.question_in = nn.Linear(dim, width) if prompt is None else None
        self.sof = nn.Parameter(0.02 * torch.randn(width))  # official code: an embedding redrawn from N(0, 0.02)
        self.key, self.query = (nn.Linear(width, width, bias=False) for _ in range(2))
        self.value = nn.Linear(width, width)
        self.raw_scale = nn.Parameter(torch.full((1,), math.log(math.e - 1)))  # softplus of it is 1
        nn.init.orthogonal_(self.frame_in.weight)
        for head in (self.key, self.query, self.value):
            nn.init.orthogonal_(head.weight, float(head_gain))
        for linear in (self.frame_in, self.value):
            nn.init.zeros_(linear.bias)
        with torch.no_grad():
            if self.question_in is not None:  # texts and frames of one encoder keep their angles
                self.question_in.load_state_dict(self.frame_in.state_dict())
            if prompt is None if aligned is None else aligned:
                self.query.weight.copy_(self.key.weight)
        self._kept: OrderedDict[Any, Watched] = OrderedDict()
        self._kept_of: tuple[Any, ...] = ()

    def forward(self, features: Tensor, mask: Tensor, timestamps_s: Tensor, queries: Tensor) -> Autoregressive:
        return self._policy(self._watch(features, mask), mask, *self._question_vectors(queries))

    def policies(self, batch: QuestionBatch) -> Autoregressive:
        """As `forward`, but each video of the batch is watched once, and outside of training once altogether."""
        if self.prompt is None:
            question, lengths = self._question_vectors(batch.queries)
        else:
            question, lengths = self.prompt.embed_questions(batch.questions, self.backbone)
        return self._policy(self._watched(batch), batch.mask, question, lengths)

    def scores(self, features: Tensor, mask: Tensor, timestamps_s: Tensor, queries: Tensor) -> Tensor | None:
        """Logits of the first draw; None where questions are tokens, which these arguments do not hold."""
        if self.prompt is not None:
            return None
        policy = self(features, mask, timestamps_s, queries)
        return torch.einsum("bd,btd->bt", policy.decoder.first, policy.keys)

    def parameter_groups(self) -> dict[str, ParameterGroup]:
        parts = {"backbone": list(self.backbone.parameters()), "scale": [self.raw_scale]}
        parts = {name: part for name, part in parts.items() if self.lr_shares[name] != 1.0}
        apart = {id(p) for part in parts.values() for p in part}
        own = ParameterGroup([p for p in self.parameters() if id(p) not in apart])
        return {"": own, **{name: ParameterGroup(part, self.lr_shares[name]) for name, part in parts.items()}}

    def look_for(self, hidden: Tensor) -> Tensor:
        """Hidden vectors (..., d) -> queries (..., d), scale and temperature in them."""
        return self.query(hidden) * nn.functional.softplus(self.raw_scale) / self.temperature

    # ---- the question ----

    def _question_vectors(self, queries: Tensor) -> tuple[Tensor, Tensor]:
        """(B, Q, D) -> inputs of the backbone (B, Q, d) and how many of them are real; absent queries go last."""
        if self.question_in is None:
            raise TypeError("with a prompt the question is read as tokens, which belong to questions; call `policies`")
        present = queries.abs().sum(-1) > 0
        order = present.int().argsort(dim=1, descending=True, stable=True)
        sorted_queries = queries.gather(1, order[..., None].expand_as(queries))
        vectors = self.question_in(nn.functional.rms_norm(sorted_queries.float(), (self.dim,)))
        return vectors, present.sum(1).clamp(min=1)

    def _policy(self, watched: Watched, mask: Tensor, question: Tensor, lengths: Tensor) -> Autoregressive:
        real = torch.arange(question.shape[1], device=question.device) < lengths[:, None]
        reminder = torch.zeros_like(question[:, 0])
        if self.remind:
            reminder = (question * real[..., None]).sum(1) / lengths[:, None]
        # <sof> comes right behind the last real vector of the question
        padded = nn.functional.pad(question, (0, 0, 0, 1))
        at_sof = torch.arange(padded.shape[1], device=padded.device) == lengths[:, None]
        padded = torch.where(at_sof[..., None], (self.sof + reminder)[:, None], padded)
        hidden, state = self.backbone.prefill(padded, lengths + 1, watched.state)
        first = self.look_for(hidden.gather(1, lengths[:, None, None].expand(-1, 1, hidden.shape[-1]))[:, 0])
        return Autoregressive(watched.keys, mask, _Decoder(self, watched.values, first, state, reminder))

    # ---- the video ----

    def _watch(self, features: Tensor, mask: Tensor) -> Watched:
        """Reads the frames of V videos, (V, T, D) or (V, T, P, D)."""
        if features.shape[-1] != self.dim:
            raise ValueError(f"features have width {features.shape[-1]}, the sampler was built for dim={self.dim}")
        tokens = features.unsqueeze(2) if features.ndim == 3 else features
        num_frames, per_frame = tokens.shape[1:3]
        x = self.frame_in(nn.functional.rms_norm(tokens.float(), (self.dim,))).flatten(1, 2)
        head = 0
        if self.prompt is not None:
            before = self.prompt.embed_head(self.backbone)
            x, head = torch.cat([before.expand(len(x), -1, -1), x], 1), len(before)
        if x.shape[1] == 1:
            x = nn.functional.pad(x, (0, 0, 0, 1))
        hidden, state = self.backbone.prefill(x, head + mask.sum(1) * per_frame)
        last = hidden[:, head : head + num_frames * per_frame].unflatten(1, (num_frames, per_frame))[:, :, -1]
        return Watched(self.key(last), self.value(last), state)

    def _watched(self, batch: QuestionBatch) -> Watched:
        names = [_identity(c) for c in batch.candidates]
        first = {name: b for b, name in reversed(list(enumerate(names)))}
        if torch.is_grad_enabled():
            rows = torch.tensor(list(first.values()), device=batch.mask.device)
            watched = self._watch(batch.features[rows], batch.mask[rows])
            position = {name: n for n, name in enumerate(first)}
            index = torch.tensor([position[name] for name in names], device=rows.device)
            state = self.backbone.select(watched.state, index)
            return Watched(watched.keys[index], watched.values[index], state)
        self._forget_if_trained()
        missing = [b for name, b in first.items() if name not in self._kept]
        if missing:
            rows = torch.tensor(missing, device=batch.mask.device)
            watched = self._watch(batch.features[rows], batch.mask[rows])
            for n, (b, real) in enumerate(zip(missing, batch.mask[rows].sum(1).tolist(), strict=True)):
                state = self.backbone.select(watched.state, torch.arange(n, n + 1, device=rows.device))
                self._kept[names[b]] = Watched(watched.keys[n, :real], watched.values[n, :real], state)
        kept = [self._kept[name] for name in names]
        while len(self._kept) > _VIDEOS_KEPT:
            self._kept.popitem(last=False)
        pad = batch.mask.shape[1]
        keys, values = (
            torch.stack([nn.functional.pad(x, (0, 0, 0, pad - len(x))) for x in part])
            for part in ([w.keys for w in kept], [w.values for w in kept])
        )
        return Watched(keys, values, self.backbone.stack([w.state for w in kept]))

    def _forget_if_trained(self) -> None:
        """What is kept of videos goes when a weight has changed, or moved."""
        now = tuple((p.data_ptr(), p._version) for p in self.parameters())
        if now != self._kept_of:
            self._kept.clear()
            self._kept_of = now


def _identity(candidates: Candidates) -> tuple[Any, ...]:
    """Equal for the same frames of the same files."""
    sources = b"" if candidates.source_index is None else candidates.source_index.numpy().tobytes()
    return candidates.video, tuple(candidates.sources), candidates.frame_ids.numpy().tobytes(), sources
