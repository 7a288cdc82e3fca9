"""TSPO's event-aware temporal agent (arXiv 2508.04369, sec. 3.2; official code 19f4ecb).

``score_t = cos(event_t, q) + cos(frame_t, q)``, ``logits = score / tau``, where events come from one layer of window
attention over frames with a code of normalised time, an MLP and a residual.

Differences:

- attention is banded: for each frame only its window's keys are touched, and long videos go in chunks
  (official code: dense T x T, 79 GiB at T = 32 550);
- float32 throughout the scores (official code: bfloat16, about 80 distinct values at T = 3 600);
- the output projection ``ffn_o``, which the official code keeps but never uses, is left out. `load_official` accepts
  it, `official_state_dict` writes zeros for it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from jsonargparse.typing import PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from modules.files.paths import ModelPath
from modules.methods.tspo.published_folder import read_selector
from modules.selection.base import FrameSampler
from modules.selection.policies import PlackettLuce

OFFICIAL_PREFIXES = ("selector.", "multiModal_align.")
_OFFICIAL_NAMES = {
    "temporal.Self_q": "query",
    "temporal.Self_k": "key",
    "temporal.Self_v": "value",
    "mlp.0": "mlp.0",
    "mlp.2": "mlp.2",
}
_UNUSED = "temporal.ffn_o"
_FRAMES_PER_CHUNK = 2048


def time_code(num_frames: Tensor, start: int, stop: int, width: int) -> Tensor:
    """Sinusoids of normalised time p = t / T in [0, 1), for frames start..stop.

    Channel 2i is sin(p w_i), channel 2i + 1 is cos(p w_i), w_i = 10000^(-2i / D). The norm is sqrt(D / 2) for every t.

    Args:
        num_frames: int (B,), real candidates T of each question.
        start, stop: which frames.
        width: D, even.

    Returns:
        float32 (B, stop - start, D).
    """
    position = torch.arange(start, stop, device=num_frames.device)[None] / num_frames[:, None].float()
    rate = torch.exp(torch.arange(0, width, 2, device=num_frames.device).float() * (-math.log(10000.0) / width))
    angle = position[..., None] * rate
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(-2)


def window_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    num_frames: Tensor,
    window: int,
    *,
    first_query: int = 0,
    first_key: int = 0,
) -> Tensor:
    """Softmax attention of frame j over frames j - w//2 ... j - w//2 + w - 1 of its own video.

    For w = 12: six past, itself, five future (paper: centred; official code and here: asymmetric). Scale 1/sqrt(d).

    Args:
        query: (B, H, t, d) of frames first_query, first_query + 1, ...
        key, value: (B, H, s, d) of frames first_key, first_key + 1, ...; they cover the windows as far as frames exist.
        num_frames: int (B,), frames at and beyond it are padding.
        window: w.

    Returns:
        (B, H, t, d).
    """
    length, before = query.shape[2], window // 2
    frame = torch.arange(first_query, first_query + length, device=query.device)
    neighbour = frame[:, None] + torch.arange(window, device=query.device) - before  # (t, w)
    inside = (neighbour >= 0) & (neighbour[None] < num_frames[:, None, None])  # (B, t, w)
    left = first_key - (first_query - before)
    pad = (0, 0, left, length + window - 1 - left - key.shape[2])
    keys = nn.functional.pad(key, pad).unfold(2, window, 1)  # (B, H, t, d, w), a view
    values = nn.functional.pad(value, pad).unfold(2, window, 1)
    logits = torch.einsum("bhtd,bhtdw->bhtw", query, keys) / math.sqrt(query.shape[-1])
    # rows of padding frames may have no key at all; a finite fill keeps them from becoming NaN
    weights = logits.masked_fill(~inside[:, None], -1e6).softmax(-1)
    return torch.einsum("bhtw,bhtdw->bhtd", weights, values)


class TSPOSampler(FrameSampler):
    """The trainable temporal agent.

    Args:
        dim: feature width D, a multiple of ``num_heads``.
        num_heads: attention heads (paper and official code: 8).
        window: frames each frame attends to (official code: 12).
        temperature: tau; the logits are scores / tau (official code: 0.025, annealed to 0.01).
        policy: class that turns logits and mask into a policy.
        init_std: standard deviation of the initial weights; biases start at 0 (official code: 0.02, from Qwen2's rule).
            Small weights mean event_t is close to frame_t, so training starts from plain CLIP retrieval.
        weights: a published folder or hub id (TSPO-0.4B) to start from.
    """

    def __init__(
        self,
        *,
        dim: PositiveInt = 768,
        num_heads: PositiveInt = 8,
        window: PositiveInt = 12,
        temperature: PositiveFloat = 0.025,
        policy: type[PlackettLuce] = PlackettLuce,
        init_std: PositiveFloat = 0.02,
        weights: ModelPath | None = None,
    ) -> None:
        super().__init__()
        if dim % num_heads or dim % 2:
            raise ValueError(f"dim={dim} must be even and a multiple of num_heads={num_heads}")
        self.dim, self.num_heads, self.window = dim, num_heads, window
        self.temperature, self.policy = float(temperature), policy
        self.query, self.key, self.value = (nn.Linear(dim, dim) for _ in range(3))
        self.mlp = nn.Sequential(nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, dim))
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=init_std)
                nn.init.zeros_(module.bias)
        if weights is not None:
            self.load_official(read_selector(weights))

    def forward(self, features: Tensor, mask: Tensor, timestamps_s: Tensor, queries: Tensor) -> PlackettLuce:
        scores = self.scores(features, mask, timestamps_s, queries)
        return self.policy.of_scores(scores, self.temperature, mask)

    def scores(self, features: Tensor, mask: Tensor, timestamps_s: Tensor, queries: Tensor) -> Tensor:
        if features.shape[-1] != self.dim:
            raise ValueError(f"features have width {features.shape[-1]}, the sampler was built for dim={self.dim}")
        with torch.autocast(features.device.type, enabled=False):
            features, queries = features.float(), queries.float()
            text = queries / queries.norm(dim=-1, keepdim=True)
            starts = range(0, features.shape[1], _FRAMES_PER_CHUNK)
            # a long video is scored piece by piece, each computed again in the backward pass, so that what is alive at
            # a time does not grow with T
            again = len(starts) > 1 and torch.is_grad_enabled()
            parts = [
                checkpoint(self._score_chunk, features, mask, text, start, use_reentrant=False)
                if again
                else self._score_chunk(features, mask, text, start)
                for start in starts
            ]
        return torch.cat(parts, dim=1)

    def _score_chunk(self, features: Tensor, mask: Tensor, text: Tensor, start: int) -> Tensor:
        """Scores (B, t) of the frames from ``start`` on, one chunk of them: mean over queries of the two cosines."""
        stop = min(start + _FRAMES_PER_CHUNK, features.shape[1])
        frames = features[:, start:stop]
        score = frames.new_zeros(frames.shape[:2])
        # the two cosines guard their denominators as the official code does
        for vectors, eps in ((self._events(features, mask.sum(1), start, stop), 1e-6), (frames, 1e-8)):
            dot = torch.einsum("btd,bqd->btq", vectors, text).mean(-1)
            score = score + dot / (vectors.norm(dim=-1) + eps)
        return score

    def _events(self, features: Tensor, num_frames: Tensor, start: int, stop: int) -> Tensor:
        """Event vectors float32 (B, t, D) of frames start..stop: MLP of the window's context, plus the frame itself."""
        before = self.window // 2
        low, high = max(start - before, 0), min(stop - before + self.window - 1, features.shape[1])
        coded = features[:, low:high] + time_code(num_frames, low, high, self.dim)

        def heads(projection: nn.Linear, frames: Tensor) -> Tensor:
            return projection(frames).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)

        context = window_attention(
            heads(self.query, coded[:, start - low : stop - low]),
            heads(self.key, coded),
            heads(self.value, coded),
            num_frames,
            self.window,
            first_query=start,
            first_key=low,
        )
        return self.mlp(context.transpose(1, 2).flatten(-2)) + features[:, start:stop]

    def load_official(self, state: Mapping[str, Tensor]) -> None:
        """Loads the official selector's 12 tensors, under either prefix or none; other keys are ignored.

        Raises:
            ValueError: a tensor is missing or has another shape; all of them are named.
        """
        found: dict[str, Tensor] = {}
        for key, tensor in state.items():
            bare = next((key.removeprefix(p) for p in OFFICIAL_PREFIXES if key.startswith(p)), key)
            stem, _, leaf = bare.rpartition(".")
            if stem in _OFFICIAL_NAMES:
                found[f"{_OFFICIAL_NAMES[stem]}.{leaf}"] = tensor.float()
        own = self.state_dict()
        problems = [f"{k} is missing" for k in own.keys() - found.keys()]
        problems += [
            f"{k} is {tuple(found[k].shape)}, expected {tuple(own[k].shape)}"
            for k in own.keys() & found.keys()
            if found[k].shape != own[k].shape
        ]
        if problems:
            raise ValueError("not an official TSPO selector of this size: " + "; ".join(sorted(problems)))
        self.load_state_dict(found)

    def official_state_dict(self, prefix: str = "selector.") -> dict[str, Tensor]:
        """The 12 tensors under the official names; the never-used ``ffn_o`` is zero."""
        own = self.state_dict()
        official = {
            f"{prefix}{stem}.{leaf}": own[f"{ours}.{leaf}"].clone()
            for stem, ours in _OFFICIAL_NAMES.items()
            for leaf in ("weight", "bias")
        }
        official[f"{prefix}{_UNUSED}.weight"] = torch.zeros(self.dim, self.dim)
        official[f"{prefix}{_UNUSED}.bias"] = torch.zeros(self.dim)
        return official
