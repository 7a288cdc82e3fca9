"""A small causal transformer with rotary positions, whose rollouts share the keys and values of what they begin with.

Time is quadratic in the number of frames, where recurrent backbones are linear; memory is not.
"""

from __future__ import annotations

import torch
from jsonargparse.typing import PositiveInt
from torch import Tensor, nn

from modules.methods.refocus.backbones.base import SequenceBackbone, State

_BASE = 10_000.0


def rotate(x: Tensor, position: Tensor) -> Tensor:
    """Turns each pair of channels (i, i + d/2) of (N, H, S, d) by position (N, S) * 10000^(-2i / d)."""
    half = x.shape[-1] // 2
    rate = _BASE ** (-torch.arange(half, device=x.device).float() / half)
    angle = (position[:, None, :, None] * rate).to(x.dtype)
    first, second = x[..., :half], x[..., half:]
    return torch.cat([first * angle.cos() - second * angle.sin(), first * angle.sin() + second * angle.cos()], -1)


class _Layer(nn.Module):
    """Attention and a feed-forward net, each behind a norm and a residual connection."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.norms = nn.ModuleList(nn.RMSNorm(width) for _ in range(2))
        self.project = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.feed_forward = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: Tensor, position: Tensor, before: _Remembered | None) -> tuple[Tensor, Tensor, Tensor]:
        """(N, S, d) at positions (N, S) -> the same shape, and these tokens' keys and values (N, H, S, d / H)."""
        q, k, v = (
            part.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for part in self.project(self.norms[0](x)).chunk(3, dim=-1)
        )
        q, k = rotate(q, position), rotate(k, position)
        attended = (
            nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
            if before is None
            else before.attend(q, k, v)
        )
        x = x + self.out(attended.transpose(1, 2).flatten(-2))
        return x + self.feed_forward(self.norms[1](x)), k, v


class _Remembered:
    """One layer's keys and values: of a beginning that several rows share, and of what each row has read since.

    Args:
        shared_k, shared_v: (B, H, P, d / H).
        real: bool (B, P), where that is no padding.
        own_k, own_v: (N, H, S, d / H), N a multiple of B.
    """

    def __init__(self, shared_k: Tensor, shared_v: Tensor, real: Tensor, own_k: Tensor, own_v: Tensor) -> None:
        self.shared_k, self.shared_v, self.real, self.own_k, self.own_v = shared_k, shared_v, real, own_k, own_v

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Queries (N, H, S, d / H) of the newest tokens, whose keys and values are given, over all before and them."""
        num_shared, num_new = len(self.shared_k), q.shape[2]
        q = q / q.shape[-1] ** 0.5
        k, v = torch.cat([self.own_k, k], 2), torch.cat([self.own_v, v], 2)
        grouped = q.unflatten(0, (num_shared, -1))  # (B, N / B, H, S, d / H)
        on_shared = torch.einsum("bnhsd,bhpd->bnhsp", grouped, self.shared_k)
        on_shared = on_shared.masked_fill(~self.real[:, None, None, None], -1e30).flatten(0, 1)
        later = torch.ones(num_new, k.shape[2], dtype=torch.bool, device=q.device).triu(k.shape[2] - num_new + 1)
        on_own = torch.einsum("nhsd,nhtd->nhst", q, k).masked_fill(later, -1e30)
        weights = torch.cat([on_shared, on_own], -1).softmax(-1)
        from_shared, from_own = weights.split([on_shared.shape[-1], on_own.shape[-1]], -1)
        out = torch.einsum("bnhsp,bhpd->bnhsd", from_shared.unflatten(0, (num_shared, -1)), self.shared_v)
        return out.flatten(0, 1) + torch.einsum("nhst,nhtd->nhsd", from_own, v)


class TransformerBackbone(SequenceBackbone):
    """A state is (shared_k, shared_v, real, next position, own_k, own_v), its keys and values with layers second.

    Args:
        width: d, of which each head has an even share.
        num_layers, num_heads: of the transformer.
    """

    def __init__(self, *, width: PositiveInt = 64, num_layers: PositiveInt = 2, num_heads: PositiveInt = 4) -> None:
        super().__init__()
        if width % (2 * num_heads):
            raise ValueError(f"width={width} must be a multiple of 2 * num_heads={2 * num_heads}")
        self.width = width
        self.layers = nn.ModuleList(_Layer(width, num_heads) for _ in range(num_layers))
        self.final_norm = nn.RMSNorm(width)

    def prefill(self, x: Tensor, lengths: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        start = torch.zeros_like(lengths) if state is None else state[3]
        hidden, k, v = self._read(x, start, state)
        # padding comes after all that is real, so that being causal hides it here, and `real` hides it later
        real = torch.arange(x.shape[1], device=x.device) < lengths[:, None]
        if state is not None:
            k, v = torch.cat([state[0], k], 3), torch.cat([state[1], v], 3)
            real = torch.cat([state[2], real], 1)
        return hidden, (k, v, real, start + lengths, k[:, :, :, :0], v[:, :, :, :0])

    def branch(self, state: State, num_branches: int) -> State:
        k, v, real, position, own_k, own_v = state
        position, own_k, own_v = (x.repeat_interleave(num_branches, 0) for x in (position, own_k, own_v))
        return k, v, real, position, own_k, own_v

    def stack(self, states: list[State]) -> State:
        longest = max(state[2].shape[1] for state in states)
        padded: list[State] = []
        for k, v, real, position, own_k, own_v in states:
            missing = longest - real.shape[1]
            k, v = (nn.functional.pad(x, (0, 0, 0, missing)) for x in (k, v))
            padded.append((k, v, nn.functional.pad(real, (0, missing)), position, own_k, own_v))
        return super().stack(padded)

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        shared_k, shared_v, real, position, own_k, own_v = state
        hidden, k, v = self._read(x[:, None], position, state)
        own_k, own_v = torch.cat([own_k, k], 3), torch.cat([own_v, v], 3)
        return hidden[:, 0], (shared_k, shared_v, real, position + 1, own_k, own_v)

    def parallel(self, x: Tensor, state: State) -> Tensor:
        return self._read(x, state[3], state)[0]

    def _read(self, x: Tensor, start: Tensor, state: State | None) -> tuple[Tensor, Tensor, Tensor]:
        position = start[:, None] + torch.arange(x.shape[1], device=x.device)
        keys, values = [], []
        for number, layer in enumerate(self.layers):
            before = None
            if state is not None:
                shared_k, shared_v, real, _, own_k, own_v = state
                before = _Remembered(shared_k[:, number], shared_v[:, number], real, own_k[:, number], own_v[:, number])
            x, k, v = layer(x, position, before)
            keys.append(k)
            values.append(v)
        return self.final_norm(x), torch.stack(keys, 1), torch.stack(values, 1)
