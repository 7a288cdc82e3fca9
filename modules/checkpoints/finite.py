"""Weights are finite, or they are neither saved nor loaded: nothing comes of a NaN but more of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves


def trained_tensors(checkpoint: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    """The weights of a checkpoint by name, and what the optimizer keeps of them."""
    weights = checkpoint.get("state_dict")
    if isinstance(weights, Mapping):
        yield from weights.items()
    for leaf in tree_leaves(checkpoint.get("optimizer_states", [])):
        yield "the optimizer's states", leaf


def not_finite(named: Iterable[tuple[str, Any]]) -> str | None:
    """The name of the first tensor that holds NaN or an infinite number; None where there is none.

    Args:
        named: tensors by name, on any device; anything else is passed over.
    """
    # the extremes of a tensor are NaN where one of its numbers is; unlike isfinite this takes no memory
    floats = [
        (name, t)
        for name, t in named
        if isinstance(t, Tensor) and t.is_floating_point() and t.numel() and not t.is_meta
    ]
    extremes: dict[torch.device, list[tuple[str, Tensor]]] = {}
    for name, tensor in floats:
        low, high = torch.aminmax(tensor.detach())
        extremes.setdefault(tensor.device, []).append((name, torch.stack([low, high]).float()))
    for found in extremes.values():  # one copy from each device
        finite = torch.stack([pair for _, pair in found]).isfinite().all(1).tolist()
        if not all(finite):
            return found[finite.index(False)][0]
    return None
