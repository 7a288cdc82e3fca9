"""Frame tokens of the pools that a stage of training draws its clips from, made once when it begins."""

from __future__ import annotations

import lightning as L
from torch import Tensor

from modules.methods.videostreaming.frame_tokens import MergedPatches
from modules.small_stack.pretraining_data import data_of


def pool_tokens(patches: MergedPatches, trainer: L.Trainer) -> dict[str, Tensor]:
    """float16 (frames, tokens, C) on the host, under ``train`` and ``val``."""
    data = data_of(trainer)
    pools = {"train": data.pool, "val": data.val_pool}
    return {name: patches.encode_frames(pool.frames).half().cpu() for name, pool in pools.items()}
