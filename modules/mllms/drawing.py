"""Draws tokens from exactly the distribution whose log-probabilities are reported.

A token is drawn by inverting the cumulative distribution: one uniform number a row and token, a hash of the row's seed
and the token's position. So a draw is a function of (seed, position, logits), whatever rows stand beside it, on every
device alike, and nothing is drawn on the host. First a block of the vocabulary is found, then a token within it: the
whole vocabulary is added up once, and the cumulative sum is taken of a few hundred numbers. These are whole numbers of
2^-46, because a device may add fractions in any order, and whole numbers give the same in each. What is drawn differs
from the float32 probabilities by 2^-46 a block, where float32 itself is off by 2^-24 a token.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import transformers
from torch import Tensor

_PARTS, _BLOCK = 2.0**46, 128
_UNIFORM_BITS = 48


class TokenDraw(transformers.LogitsProcessor):
    """Chooses each row's next token and keeps its log-probability; everything else is made impossible.

    Args:
        shaped: logits (R, V) of the model -> those of what is drawn from.
        uniforms: float64 (R, L) in (0, 1), a number a row and token; None takes the most probable token.
    """

    def __init__(self, shaped: Callable[[Tensor], Tensor], uniforms: Tensor | None) -> None:
        self.shaped, self.uniforms = shaped, uniforms
        self.log_probs: list[Tensor] = []
        """float32 (R,), one a token: nats, of what was chosen."""

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        log_probs = self.shaped(scores.float()).log_softmax(-1)
        position = len(self.log_probs)
        if self.uniforms is None:
            chosen = log_probs.argmax(-1, keepdim=True)
        else:
            chosen = inverse_cdf(log_probs.exp(), self.uniforms[:, position])[:, None]
        self.log_probs.append(log_probs.gather(-1, chosen)[:, 0])
        return log_probs.fill_(-torch.inf).scatter_(-1, chosen, 0.0)


def inverse_cdf(probabilities: Tensor, uniforms: Tensor) -> Tensor:
    """The token at which the cumulative distribution passes a uniform number.

    Args:
        probabilities: float32 (R, V); one of 0 is never drawn.
        uniforms: float64 (R,) in (0, 1).

    Returns:
        int64 (R,).
    """
    if missing := -probabilities.shape[-1] % _BLOCK:
        probabilities = torch.nn.functional.pad(probabilities, (0, missing))
    blocks = probabilities.unflatten(-1, (-1, _BLOCK))
    block, within = _invert(blocks.sum(-1, dtype=torch.float64), uniforms)
    chosen = blocks.gather(1, block[:, None, None].expand(-1, 1, _BLOCK))[:, 0]
    return block * _BLOCK + _invert(chosen.double(), within)[0]


def _invert(weights: Tensor, uniforms: Tensor) -> tuple[Tensor, Tensor]:
    """Of float64 weights (R, N): which one a uniform number (R,) falls on, and how far into it, from 0 to below 1."""
    parts = (weights / weights.sum(-1, keepdim=True) * _PARTS).long()
    cumulative = parts.cumsum(-1)
    reached = uniforms * cumulative[:, -1]
    chosen = torch.searchsorted(cumulative, reached.long()[:, None], right=True)
    size = parts.gather(1, chosen)[:, 0]
    into = (reached - (cumulative.gather(1, chosen)[:, 0] - size)) / size
    return chosen[:, 0], into.clamp(max=1 - 2.0**-50)


def uniforms_of(seeds: list[int], num_tokens: int, device: torch.device) -> Tensor:
    """A uniform number for every token of every row: a hash of (seed, position), nothing else.

    SplitMix64 (Steele, Lea and Flood, 2014): the state of a row starts at its hashed seed and goes on by a constant a
    token, and each state is hashed. 48 of its 64 bits are used.

    Args:
        seeds: R of them.
        num_tokens: L.
        device: where the numbers are made.

    Returns:
        float64 (R, L), strictly between 0 and 1.
    """
    start = _mixed(torch.tensor([_signed(seed) for seed in seeds], dtype=torch.int64).to(device))
    steps = torch.arange(1, num_tokens + 1, device=device) * _signed(0x9E3779B97F4A7C15)
    bits = _shifted(_mixed(start[:, None] + steps), 64 - _UNIFORM_BITS)
    return (bits.double() + 0.5) / 2.0**_UNIFORM_BITS


def _mixed(state: Tensor) -> Tensor:
    """SplitMix64's hash of int64, whose products wrap around."""
    state = (state ^ _shifted(state, 30)) * _signed(0xBF58476D1CE4E5B9)
    state = (state ^ _shifted(state, 27)) * _signed(0x94D049BB133111EB)
    return state ^ _shifted(state, 31)


def _shifted(values: Tensor, bits: int) -> Tensor:
    """To the right as if the numbers had no sign."""
    return (values >> bits) & ((1 << (64 - bits)) - 1)


def _signed(value: int) -> int:
    """The 64-bit number of the same bits that has a sign."""
    return (value + 2**63) % 2**64 - 2**63


@contextmanager
def plain_decoding(model: Any, max_new_tokens: int, pad_token_id: int | None) -> Iterator[None]:
    """Inside, the model generates with nothing of its checkpoint's ``generation_config`` but the ends of a turn.

    transformers fills what a call leaves open from the checkpoint's file: penalties, cut-offs, forced and suppressed
    tokens, least lengths (Qwen2.5-VL: a repetition penalty of 1.05). Log-probabilities in training know of none of it.
    """
    own = model.generation_config
    model.generation_config = transformers.GenerationConfig(
        max_new_tokens=max_new_tokens, do_sample=False, eos_token_id=own.eos_token_id, pad_token_id=pad_token_id
    )
    try:
        yield
    finally:
        model.generation_config = own
