"""A Video Swin forward written anew from the paper (arXiv 2106.13230), over tensors under mmaction's names.

No window is ever cut out: every token of a stage looks at every other under a matrix that says who may, so nothing is
shared with torchvision's way. Slow, for tests.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import conv3d, gelu, layer_norm, linear, pad

Weights = dict[str, Tensor]


def random_vidswin(
    embed_dim: int, depths: list[int], num_heads: list[int], window: list[int], patch: list[int], seed: int = 0
) -> Weights:
    """Random weights in the layout of a published checkpoint, its classifier and its index buffers included."""
    generator = torch.Generator().manual_seed(seed)
    shapes: dict[str, tuple[int, ...]] = {
        "patch_embed.proj.weight": (embed_dim, 3, *patch),
        "patch_embed.proj.bias": (embed_dim,),
        "patch_embed.norm.weight": (embed_dim,),
        "patch_embed.norm.bias": (embed_dim,),
    }
    table = math.prod(2 * w - 1 for w in window)
    for stage, (depth, heads) in enumerate(zip(depths, num_heads, strict=True)):
        width = embed_dim * 2**stage
        for block in range(depth):
            here = f"layers.{stage}.blocks.{block}"
            shapes |= {
                f"{here}.norm1.weight": (width,),
                f"{here}.norm1.bias": (width,),
                f"{here}.attn.relative_position_bias_table": (table, heads),
                f"{here}.attn.qkv.weight": (3 * width, width),
                f"{here}.attn.qkv.bias": (3 * width,),
                f"{here}.attn.proj.weight": (width, width),
                f"{here}.attn.proj.bias": (width,),
                f"{here}.norm2.weight": (width,),
                f"{here}.norm2.bias": (width,),
                f"{here}.mlp.fc1.weight": (4 * width, width),
                f"{here}.mlp.fc1.bias": (4 * width,),
                f"{here}.mlp.fc2.weight": (width, 4 * width),
                f"{here}.mlp.fc2.bias": (width,),
            }
        if stage < len(depths) - 1:
            shapes |= {
                f"layers.{stage}.downsample.reduction.weight": (2 * width, 4 * width),
                f"layers.{stage}.downsample.norm.weight": (4 * width,),
                f"layers.{stage}.downsample.norm.bias": (4 * width,),
            }
    width = embed_dim * 2 ** (len(depths) - 1)
    shapes |= {"norm.weight": (width,), "norm.bias": (width,)}
    drawn = {f"backbone.{n}": torch.randn(s, generator=generator) * 0.3 for n, s in shapes.items()}
    classifier = {"cls_head.fc_cls.weight": torch.zeros(5, width), "cls_head.fc_cls.bias": torch.zeros(5)}
    index = {
        f"backbone.layers.{stage}.blocks.{block}.attn.relative_position_index": position_index(window)
        for stage, depth in enumerate(depths)
        for block in range(depth)
    }
    return drawn | classifier | index


def position_index(window: list[int]) -> Tensor:
    """int64 (W, W): which row of the table a pair of tokens of a window reads."""
    places = _places(window)
    delta = places[:, None] - places[None] + torch.tensor(window) - 1
    spans = [2 * w - 1 for w in window]
    return delta[..., 0] * spans[1] * spans[2] + delta[..., 1] * spans[2] + delta[..., 2]


def _places(sizes: list[int]) -> Tensor:
    """int64 (N, 3), the places of a grid in order."""
    return torch.stack(torch.meshgrid(*(torch.arange(s) for s in sizes), indexing="ij"), -1).flatten(0, 2)


def vidswin(weights: Weights, pixels: Tensor, num_heads: list[int], window: list[int], patch: list[int]) -> Tensor:
    """Normalised pixels (3, T, H, W) of one clip -> (T', H', W', C)."""
    w = {name.removeprefix("backbone."): tensor for name, tensor in weights.items()}
    sizes = pixels.shape[1:]
    missing = [-s % p for s, p in zip(sizes, patch, strict=True)]
    pixels = pad(pixels, (0, missing[2], 0, missing[1], 0, missing[0]))
    states = conv3d(pixels[None], w["patch_embed.proj.weight"], w["patch_embed.proj.bias"], stride=patch)[0]
    states = _norm(w, "patch_embed.norm", states.permute(1, 2, 3, 0))
    for stage, heads in enumerate(num_heads):
        block = 0
        while f"layers.{stage}.blocks.{block}.attn.qkv.weight" in w:
            states = _block(w, f"layers.{stage}.blocks.{block}", states, heads, window, shifted=block % 2 == 1)
            block += 1
        if f"layers.{stage}.downsample.norm.weight" in w:
            states = _merge(w, f"layers.{stage}.downsample", states)
    return _norm(w, "norm", states)


def _norm(w: Weights, name: str, states: Tensor) -> Tensor:
    return layer_norm(states, states.shape[-1:], w[f"{name}.weight"], w[f"{name}.bias"], 1e-5)


def _block(w: Weights, name: str, states: Tensor, heads: int, window: list[int], *, shifted: bool) -> Tensor:
    normed = _norm(w, f"{name}.norm1", states)
    states = states + _attend(w, f"{name}.attn", normed, heads, window, shifted)
    inner = gelu(linear(_norm(w, f"{name}.norm2", states), w[f"{name}.mlp.fc1.weight"], w[f"{name}.mlp.fc1.bias"]))
    return states + linear(inner, w[f"{name}.mlp.fc2.weight"], w[f"{name}.mlp.fc2.bias"])


def _attend(w: Weights, name: str, states: Tensor, heads: int, window: list[int], shifted: bool) -> Tensor:
    sizes = list(states.shape[:3])
    used = [min(size, side) for size, side in zip(sizes, window, strict=True)]
    shift = [side // 2 if shifted and size > side else 0 for size, side in zip(sizes, window, strict=True)]
    missing = [-s % u for s, u in zip(sizes, used, strict=True)]
    padded = pad(states, (0, 0, 0, missing[2], 0, missing[1], 0, missing[0]))  # zeros that are attended to
    whole = list(padded.shape[:3])
    tokens = padded.flatten(0, 2)
    places, ends = _places(whole), torch.tensor(whole)
    moved = (places - torch.tensor(shift)) % ends  # where a token lies once the grid is rolled
    window_of = moved // torch.tensor(used)
    together = (window_of[:, None] == window_of[None]).all(-1)
    for axis in range(3):
        if shift[axis]:  # what was rolled round does not meet what it was rolled to
            came_round = moved[:, axis] >= whole[axis] - shift[axis]
            together &= came_round[:, None] == came_round[None]
    within = moved % torch.tensor(used)
    delta = (within[:, None] - within[None]) + torch.tensor(window) - 1
    spans = [2 * side - 1 for side in window]
    row = delta[..., 0] * spans[1] * spans[2] + delta[..., 1] * spans[2] + delta[..., 2]
    bias = w[f"{name}.relative_position_bias_table"][row].permute(2, 0, 1)
    qkv = linear(tokens, w[f"{name}.qkv.weight"], w[f"{name}.qkv.bias"])
    q, k, v = (part.unflatten(-1, (heads, -1)).transpose(0, 1) for part in qkv.chunk(3, -1))
    scores = q @ k.transpose(1, 2) / math.sqrt(q.shape[-1]) + bias
    mixed = scores.masked_fill(~together, -torch.inf).softmax(-1) @ v
    out = linear(mixed.transpose(0, 1).flatten(1), w[f"{name}.proj.weight"], w[f"{name}.proj.bias"])
    return out.view(*whole, -1)[: sizes[0], : sizes[1], : sizes[2]]


def _merge(w: Weights, name: str, states: Tensor) -> Tensor:
    states = pad(states, (0, 0, 0, states.shape[2] % 2, 0, states.shape[1] % 2))
    parts = [states[:, row::2, column::2] for column in (0, 1) for row in (0, 1)]
    return linear(_norm(w, f"{name}.norm", torch.cat(parts, -1)), w[f"{name}.reduction.weight"])
