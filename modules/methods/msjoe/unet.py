"""MSJoE's sampler (arXiv 2602.22932): a 1-D U-Net over the similarities of up to four queries with every frame.

No code of the paper is public. What it says: the similarity matrix is a signal over time with queries as channels, a
light U-Net of about 2 M parameters turns it into one probability a frame, and K frames are drawn without replacement.
What it leaves open, and what is done here:

- a frame's logit, softmax and Gumbel top-K: the shared Plackett-Luce policy;
- each query gives two channels, its cosine and its cosine standardised over the video (CLIP ViT-L/14's lie in 0.05 to
  0.30, so that raw values alone are nearly constant);
- queries are a set: rows are put in the order of their peaks, highest first, so that their order cannot matter (instead
  of shuffling them in training);
- absent queries get the mean of those that are there, and a channel that says so;
- a level is two convolutions of width 5 with GroupNorm and SiLU; 64, 128, 256 channels, a bottleneck of 256.

Padding is exact: what lies beyond a video's end is zero before every convolution and counts in no mean, so a video's
logits do not depend on the batch it is in.
"""

from __future__ import annotations

import torch
from jsonargparse.typing import PositiveFloat, PositiveInt
from torch import Tensor, nn

from modules.selection.base import FrameSampler, check_comparable
from modules.selection.policies import PlackettLuce

_EPS = 1e-5


class MaskedGroupNorm(nn.Module):
    """GroupNorm whose statistics are of real positions only.

    Args:
        num_groups: divides ``num_channels``.
        num_channels: C.
    """

    def __init__(self, num_groups: int, num_channels: int) -> None:
        super().__init__()
        self.num_groups = num_groups
        self.weight, self.bias = nn.Parameter(torch.ones(num_channels)), nn.Parameter(torch.zeros(num_channels))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(B, C, T), float mask (B, 1, T) -> (B, C, T), zero where the mask is."""
        grouped = x.unflatten(1, (self.num_groups, -1))
        inside = mask[:, None]
        count = (inside.sum(-1, keepdim=True) * grouped.shape[2]).clamp(min=1)
        mean = (grouped * inside).sum((2, 3), keepdim=True) / count
        variance = ((grouped - mean).square() * inside).sum((2, 3), keepdim=True) / count
        normed = ((grouped - mean) * (variance + _EPS).rsqrt()).flatten(1, 2)
        return (normed * self.weight[:, None] + self.bias[:, None]) * mask


class _Level(nn.Module):
    """Twice: convolution of width 5, masked GroupNorm, SiLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(nn.Conv1d(c, outputs, 5, padding=2) for c in (inputs, outputs))
        self.norms = nn.ModuleList(MaskedGroupNorm(8, outputs) for _ in range(2))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = nn.functional.silu(norm(convolution(x * mask), mask))
        return x


class UNetSampler(FrameSampler):
    """The trainable U-Net.

    Args:
        max_queries: rows of the similarity matrix (paper: up to four queries).
        channels: of the levels, from fine to coarse; multiples of 8.
        temperature: logits are scores / temperature.
        similarity_init: where the net starts: scores are the net's output plus a learnt multiple, at first this, of the
            highest standardised cosine. # paper: silent; here: 0, a uniform start, or more, which saves it from
            having to find by chance what the similarities show.
    """

    def __init__(
        self,
        *,
        max_queries: PositiveInt = 4,
        channels: tuple[int, ...] = (64, 128, 256),
        temperature: PositiveFloat = 1.0,
        similarity_init: float = 0.0,
    ) -> None:
        super().__init__()
        if not channels or any(c % 8 for c in channels):
            raise ValueError(f"channels={channels}: at least one level, each a multiple of 8")
        self.max_queries, self.temperature = max_queries, float(temperature)
        inputs = 3 * max_queries
        self.down = nn.ModuleList(_Level(a, b) for a, b in zip((inputs, *channels[:-1]), channels, strict=True))
        self.coarsen = nn.ModuleList(nn.Conv1d(c, c, 2, stride=2) for c in channels)
        self.bottleneck = _Level(channels[-1], channels[-1])
        coarse_to_fine = list(reversed(channels))
        wider = [channels[-1], *coarse_to_fine[:-1]]
        self.refine = nn.ModuleList(
            nn.ConvTranspose1d(a, b, 2, stride=2) for a, b in zip(wider, coarse_to_fine, strict=True)
        )
        self.up = nn.ModuleList(_Level(2 * c, c) for c in coarse_to_fine)
        self.similarity = nn.Parameter(torch.full((1,), float(similarity_init)))  # DeepSpeed takes no scalars
        self.head = nn.Conv1d(channels[0], 1, 1)
        nn.init.zeros_(self.head.weight)  # at the start the net says nothing
        nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]

    def forward(self, features: Tensor, mask: Tensor, timestamps_s: Tensor, queries: Tensor) -> PlackettLuce:
        scores = self.scores(features, mask, timestamps_s, queries)
        return PlackettLuce.of_scores(scores, self.temperature, mask)

    def scores(self, features: Tensor, mask: Tensor, timestamps_s: Tensor, queries: Tensor) -> Tensor:
        with torch.autocast(features.device.type, enabled=False):
            channels = self.channels(features.float(), mask, queries.float())
            standard = channels[:, self.max_queries : 2 * self.max_queries]
            return self._net(channels, mask) + self.similarity * standard.amax(1)

    def channels(self, features: Tensor, mask: Tensor, queries: Tensor) -> Tensor:
        """(B, 3 * max_queries, T): cosines, standardised cosines, presence; zero at padding.

        A query whose vector is zero is absent.

        Raises:
            ValueError: more queries than ``max_queries``, or no features to compare.
        """
        check_comparable(features, queries)
        if queries.shape[1] > self.max_queries:
            raise ValueError(f"{queries.shape[1]} queries, the sampler was built for max_queries={self.max_queries}")
        frames, texts = (nn.functional.normalize(x, dim=-1) for x in (features, queries))
        cosine = torch.einsum("bqd,btd->bqt", texts, frames)
        inside = mask[:, None].float()
        count = inside.sum(-1, keepdim=True).clamp(min=1)
        mean = (cosine * inside).sum(-1, keepdim=True) / count
        deviation = (((cosine - mean).square() * inside).sum(-1, keepdim=True) / count).sqrt()
        standard = (cosine - mean) / (deviation + _EPS) * inside
        present = queries.abs().sum(-1) > 0  # (B, Q)
        peak = standard.masked_fill(~mask[:, None], -torch.inf).amax(-1).masked_fill(~present, -torch.inf)
        order = peak.argsort(dim=1, descending=True, stable=True)[..., None]
        rows = [(x * inside).gather(1, order.expand_as(x)) for x in (cosine, standard)]
        there = present.gather(1, order[..., 0])[..., None].float()
        missing = self.max_queries - queries.shape[1]
        there = nn.functional.pad(there, (0, 0, 0, missing))
        filled = []
        for x in rows:
            x = nn.functional.pad(x, (0, 0, 0, missing)) * there
            average = x.sum(1, keepdim=True) / there.sum(1, keepdim=True).clamp(min=1)
            filled.append(x + (1 - there) * average)
        return torch.cat([*filled, there * inside], dim=1)

    def _net(self, x: Tensor, mask: Tensor) -> Tensor:
        length = x.shape[-1]
        x = nn.functional.pad(x, (0, -length % 2 ** len(self.down)))
        inside = nn.functional.pad(mask.float(), (0, x.shape[-1] - length))[:, None]
        kept: list[tuple[Tensor, Tensor]] = []
        for level, coarsen in zip(self.down, self.coarsen, strict=True):
            x = level(x, inside)
            kept.append((x, inside))
            x = coarsen(x * inside)
            inside = nn.functional.max_pool1d(inside, 2)
        x = self.bottleneck(x, inside)
        for refine, level in zip(self.refine, self.up, strict=True):
            skip, finer = kept.pop()
            x = level(torch.cat([refine(x * inside), skip], dim=1), finer)
            inside = finer
        return self.head(x)[:, 0, :length]
