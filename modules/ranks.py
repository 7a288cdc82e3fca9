"""Lists across ranks."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import torch


def gather_lists(mine: list[Any], key: Callable[[Any], Hashable] | None = None) -> list[Any]:
    """The lists of all ranks, one after another; this process's own where there is no other.

    Args:
        mine: this rank's.
        key: of items with the same key the first stays. Where there are fewer questions than ranks, some rank answers
            one that another has answered.
    """
    items = mine
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        gathered: list[Any] = [None] * torch.distributed.get_world_size()
        torch.distributed.all_gather_object(gathered, mine)
        items = [item for part in gathered for item in part]
    if key is None:
        return items
    first: dict[Hashable, Any] = {}
    for item in items:
        first.setdefault(key(item), item)
    return list(first.values())
