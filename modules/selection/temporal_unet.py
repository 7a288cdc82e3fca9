"""A 1-D U-Net over a video's candidates, whose padding is exact: what samplers that read signals over time share.

What lies beyond a video's end is zero before every convolution and counts in no mean, so a video's logits do not
depend on the batch it is in.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from modules.selection.base import FrameSampler
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
    """Twice: convolution of width 5, masked GroupNorm, scale and shift by the condition if there is one, SiLU."""

    def __init__(self, inputs: int, outputs: int, condition_dim: int) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(nn.Conv1d(c, outputs, 5, padding=2) for c in (inputs, outputs))
        self.norms = nn.ModuleList(MaskedGroupNorm(8, outputs) for _ in range(2))
        self.films = nn.ModuleList(nn.Linear(condition_dim, 2 * outputs) for _ in range(2 if condition_dim else 0))
        for parameter in self.films.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor, mask: Tensor, condition: Tensor | None) -> Tensor:
        for number, (convolution, norm) in enumerate(zip(self.convolutions, self.norms, strict=True)):
            x = norm(convolution(x * mask), mask)
            if condition is not None:
                scale, shift = self.films[number](condition)[..., None].chunk(2, dim=1)
                x = (x * (1 + scale) + shift) * mask
            x = nn.functional.silu(x)
        return x


class TemporalUNet(FrameSampler):
    """Turns channels over time into one score a frame.

    Args:
        inputs: channels that are read.
        channels: of the levels, from fine to coarse; multiples of 8.
        temperature: logits are scores / temperature.
        similarity_init: of `similarity`, a learnt factor that a sampler may give its similarities.
        condition_dim: width of a vector for each video that scales and shifts every level's channels (FiLM); 0: none.
    """

    def __init__(
        self,
        *,
        inputs: int,
        channels: tuple[int, ...],
        temperature: float,
        similarity_init: float,
        condition_dim: int = 0,
    ) -> None:
        super().__init__()
        if not channels or any(c % 8 for c in channels):
            raise ValueError(f"channels={channels}: at least one level, each a multiple of 8")
        self.temperature = float(temperature)
        levels = zip((inputs, *channels[:-1]), channels, strict=True)
        self.down = nn.ModuleList(_Level(a, b, condition_dim) for a, b in levels)
        self.coarsen = nn.ModuleList(nn.Conv1d(c, c, 2, stride=2) for c in channels)
        self.bottleneck = _Level(channels[-1], channels[-1], condition_dim)
        coarse_to_fine = list(reversed(channels))
        wider = [channels[-1], *coarse_to_fine[:-1]]
        self.refine = nn.ModuleList(
            nn.ConvTranspose1d(a, b, 2, stride=2) for a, b in zip(wider, coarse_to_fine, strict=True)
        )
        self.up = nn.ModuleList(_Level(2 * c, c, condition_dim) for c in coarse_to_fine)
        self.similarity = nn.Parameter(torch.full((1,), float(similarity_init)))  # DeepSpeed takes no scalars
        self.head = nn.Conv1d(channels[0], 1, 1)
        nn.init.zeros_(self.head.weight)  # at the start the net says nothing
        nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]

    def forward(self, features: Tensor, mask: Tensor, timestamps_s: Tensor, queries: Tensor) -> PlackettLuce:
        scores = self.scores(features, mask, timestamps_s, queries)
        assert scores is not None, "whoever is made of this net has scores"
        return PlackettLuce.of_scores(scores, self.temperature, mask)

    def net(self, x: Tensor, mask: Tensor, condition: Tensor | None = None) -> Tensor:
        """(B, inputs, T), bool (B, T), (B, condition_dim) -> (B, T)."""
        length = x.shape[-1]
        x = nn.functional.pad(x, (0, -length % 2 ** len(self.down)))
        inside = nn.functional.pad(mask.float(), (0, x.shape[-1] - length))[:, None]
        kept: list[tuple[Tensor, Tensor]] = []
        for level, coarsen in zip(self.down, self.coarsen, strict=True):
            x = level(x, inside, condition)
            kept.append((x, inside))
            x = coarsen(x * inside)
            inside = nn.functional.max_pool1d(inside, 2)
        x = self.bottleneck(x, inside, condition)
        for refine, level in zip(self.refine, self.up, strict=True):
            skip, finer = kept.pop()
            x = level(torch.cat([refine(x * inside), skip], dim=1), finer, condition)
            inside = finer
        return self.head(x)[:, 0, :length]


def standardised(signal: Tensor, mask: Tensor) -> Tensor:
    """(B, C, T), bool (B, T) -> every row by its own mean and deviation over real positions, zero elsewhere."""
    inside = mask[:, None].float()
    count = inside.sum(-1, keepdim=True).clamp(min=1)
    mean = (signal * inside).sum(-1, keepdim=True) / count
    deviation = (((signal - mean).square() * inside).sum(-1, keepdim=True) / count).sqrt()
    return (signal - mean) / (deviation + _EPS) * inside
