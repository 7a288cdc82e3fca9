"""Lists across ranks."""

from __future__ import annotations

from typing import Any

import torch


def gather_lists(mine: list[Any]) -> list[Any]:
    """The lists of all ranks, one after another; this process's own where there is no other."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return mine
    gathered: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(gathered, mine)
    return [item for part in gathered for item in part]
