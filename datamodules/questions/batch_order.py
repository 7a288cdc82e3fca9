"""The order of training batches: a pure function of (seed, number of the batch), on any number of ranks.

So a resumed run goes on with the very batch that the killed one would have had.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch.utils.data import Sampler


class BatchOrder(Sampler[list[tuple[int, int]]]):
    """Endless batches: epoch e is the permutation of seed + e, dealt to ranks in turn; starts at any batch.

    Yields lists of (question, number of the batch); the number seeds whatever a data set draws for it.

    Args:
        num_items: length of the data set.
        batch_size: items a batch and rank.
        seed: of the permutations.
        first_batch: how many batches were already used.
        rank, num_ranks: which share of each global batch is this process's.
    """

    def __init__(
        self, num_items: int, batch_size: int, seed: int, first_batch: int = 0, rank: int = 0, num_ranks: int = 1
    ) -> None:
        self.global_batch = batch_size * num_ranks
        if num_items < self.global_batch:
            raise ValueError(
                f"{num_items} questions do not fill one batch of {batch_size} on each of {num_ranks} ranks"
            )
        self.num_items, self.batch_size, self.seed = num_items, batch_size, seed
        self.first_batch, self.rank, self.num_ranks = first_batch, rank, num_ranks

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        per_epoch = self.num_items // self.global_batch
        number = self.first_batch
        while True:
            epoch, within = divmod(number, per_epoch)
            order = torch.randperm(self.num_items, generator=torch.Generator().manual_seed(self.seed + epoch))
            for n in range(within, per_epoch):
                start = n * self.global_batch + self.rank * self.batch_size
                yield [(i, number) for i in order[start : start + self.batch_size].tolist()]
                number += 1
