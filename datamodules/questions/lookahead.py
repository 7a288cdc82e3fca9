"""A loader that is one batch ahead of whoever reads it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch.utils.data import DataLoader


class LookaheadLoader(DataLoader):
    """Makes batch n + 1 before it hands over batch n, so that what the next needs is prefetched during this one.

    Lightning does the same for a loader without a length (training), and not for one that has a length (evaluation).
    """

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        batches = super().__iter__()
        for batch in batches:
            for following in batches:
                yield batch
                batch = following
            yield batch
