"""Feeds the small stack's training from a frame pool."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import lightning as L
import numpy as np
from torch.utils.data import DataLoader, IterableDataset

from datamodules.haystack.examples import PoolExamples
from datamodules.haystack.pool import FramePool

_AFTER_ALL_LESSONS = 10**9


class _Stream(IterableDataset):
    def __init__(
        self, pool: FramePool, examples: PoolExamples, size: int, num_batches: int, seed: int, first: int = 0
    ) -> None:
        self.pool, self.examples, self.size, self.seed = pool, examples, size, seed
        self.num_batches, self.first = num_batches, first

    def __len__(self) -> int:
        return self.num_batches

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for step in range(self.num_batches):
            yield self.examples.batch(self.pool, np.random.default_rng([self.seed, step]), self.size, self.first + step)


class PoolDataModule(L.LightningDataModule):
    """Batches of examples from a pool; the training stream never repeats, validation is another pool.

    Args:
        pool: frames to train on.
        val_pool: frames of other videos.
        examples: what an example is.
        batch_size: examples a batch.
        num_batches: batches of the training stream.
        num_val_batches: batches of validation.
        seed: of the stream.
    """

    def __init__(
        self,
        *,
        pool: FramePool,
        val_pool: FramePool,
        examples: PoolExamples,
        batch_size: int = 128,
        num_batches: int = 1000,
        num_val_batches: int = 8,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.pool, self.val_pool, self.examples = pool, val_pool, examples
        self.batch_size, self.num_batches, self.num_val_batches, self.seed = (
            batch_size,
            num_batches,
            num_val_batches,
            seed,
        )

    def prepare_data(self) -> None:
        self.pool.build()
        self.val_pool.build()

    def train_dataloader(self) -> DataLoader:
        return DataLoader(
            _Stream(self.pool, self.examples, self.batch_size, self.num_batches, self.seed), batch_size=None
        )

    def val_dataloader(self) -> DataLoader:
        stream = _Stream(
            self.val_pool, self.examples, self.batch_size, self.num_val_batches, self.seed + 1, _AFTER_ALL_LESSONS
        )
        return DataLoader(stream, batch_size=None)
