"""A vision tower's attention over many short sequences at once, where transformers loops over them.

Qwen-VL's towers read the patches of all frames as one row that is cut into windows (or frames) which see nothing of
each other. With sdpa transformers calls the kernel once a window: at 420 x 560 for 20 windows in each of 28 layers, and
for each frame again. Windows of one length are a batch: one to four calls a layer, whatever the number of frames.
"""

from __future__ import annotations

from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import apply_rotary_pos_emb_vision


def pack_attention(tower: Any) -> None:
    """Lets a Qwen-VL tower's sdpa attention take windows of one length together; other kernels stay as they are."""
    if tower.config._attn_implementation == "sdpa":
        for block in tower.blocks:
            block.attn.forward = partial(_packed, block.attn)


def _packed(
    attention: Any, hidden_states: Tensor, cu_seqlens: Tensor, position_embeddings: tuple[Tensor, Tensor], **_: Any
) -> Tensor:
    """In place of the ``forward`` of transformers' vision attention.

    Args:
        attention: the module.
        hidden_states: (S, D), the sequences one behind the other.
        cu_seqlens: int (N + 1,), where each begins and the last ends; on the host, or it is fetched from the device.
        position_embeddings: cosines and sines.
    """
    qkv = attention.qkv(hidden_states).unflatten(-1, (3, attention.num_heads, -1))
    query, key, value = qkv.unbind(1)
    query, key = apply_rotary_pos_emb_vision(query, key, *position_embeddings)
    groups, back = _groups(tuple(cu_seqlens.diff().tolist()), hidden_states.device)
    read = [_attend(query, key, value, group, attention.scaling) for group in groups]
    return attention.proj(torch.cat(read)[back].flatten(1))


def _attend(query: Tensor, key: Tensor, value: Tensor, group: Tensor, scaling: float) -> Tensor:
    """Attention within each of n sequences of one length: places (n, length) -> (n * length, heads, D)."""
    q, k, v = (part[group].transpose(1, 2) for part in (query, key, value))
    return scaled_dot_product_attention(q, k, v, scale=scaling).transpose(1, 2).flatten(0, 1)


@lru_cache(maxsize=64)
def _groups(lengths: tuple[int, ...], device: torch.device) -> tuple[list[Tensor], Tensor]:
    """The places of all sequences of each length (n, length), and where each place is found in the groups' order."""
    of = torch.tensor(lengths)
    starts = of.cumsum(0) - of
    groups = [starts[of == length, None] + torch.arange(int(length)) for length in of.unique()]
    back = torch.cat([group.flatten() for group in groups]).argsort()
    return [group.to(device) for group in groups], back.to(device)
