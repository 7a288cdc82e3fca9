"""Lists, work and results across ranks.

Work that takes unequally long (an hour of extraction, say) is shared out, awaited and reported through the process
group's key-value store, in short operations that are repeated. A barrier or an all-gather in its place would run into
the process group's time-out on every rank that has finished early.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Hashable, Iterator
from types import TracebackType
from typing import Any, Self

from torch import distributed

_POLL_S = 0.1
_numbers = itertools.count()


def gather_lists(mine: list[Any], key: Callable[[Any], Hashable] | None = None) -> list[Any]:
    """The lists of all ranks, one after another; this process's own where there is no other.

    Args:
        mine: this rank's.
        key: of items with the same key the first stays. Where there are fewer questions than ranks, some rank answers
            one that another has answered.
    """
    items = mine
    if _has_group():
        gathered: list[Any] = [None] * distributed.get_world_size()
        distributed.all_gather_object(gathered, mine)
        items = [item for part in gathered for item in part]
    if key is None:
        return items
    first: dict[Hashable, Any] = {}
    for item in items:
        first.setdefault(key(item), item)
    return list(first.values())


class RankError(RuntimeError):
    """Another rank has stopped; carries what it said."""


def on_first_rank(work: Callable[[], None]) -> None:
    """Does something on rank 0 while the others wait. All ranks call it.

    Raises:
        Exception: what the work raised, on rank 0; on the others a `RankError` that says it.
    """
    first = not _has_group() or distributed.get_rank() == 0
    failure: Exception | None = None
    if first:
        try:
            work()
        except Exception as error:
            failure = error
    said = [words for words in gather_lists([str(failure) if failure else ""]) if words]
    if failure is not None:
        raise failure
    if said:
        raise RankError(said[0])


class SharedWork:
    """Items 0 to N - 1, shared out to all ranks of all nodes: whoever is free takes the next.

    All ranks build one, in the same order. As a context it passes the error that ends one rank on to the others, who
    raise it as `RankError` when they next take an item or wait. A rank that is killed says nothing: what launched the
    ranks ends the others then (Lightning's launcher does, and ``srun --kill-on-bad-exit``), and where it was rank 0,
    which holds the store, their next look at it fails.

    A process group without a store (MPI) gets every n-th item a rank, and blocking collectives.

    Args:
        num_items: N.
    """

    def __init__(self, num_items: int) -> None:
        self.num_items, self._prefix = num_items, f"kairos/work/{next(_numbers)}"
        self.rank, self.num_ranks = 0, 1
        self._store: Any = distributed.HashStore()
        if _has_group():
            self.rank, self.num_ranks = distributed.get_rank(), distributed.get_world_size()
            self._store = distributed.distributed_c10d._get_default_store()

    def __iter__(self) -> Iterator[int]:
        """The items of this rank.

        Raises:
            RankError: another rank has stopped.
        """
        if self._store is None:
            yield from range(self.rank, self.num_items, self.num_ranks)
            return
        while True:
            self._look_after_others()
            item = self.add("taken", 1) - 1
            if item >= self.num_items:
                return
            yield item

    def add(self, counter: str, amount: int) -> int:
        """Adds to a counter of that name, and gives what all ranks have added to it so far."""
        return 0 if self._store is None else self._store.add(f"{self._prefix}/{counter}", amount)

    def finish(self, result: Any, while_waiting: Callable[[], None] = lambda: None) -> list[Any]:
        """The results of all ranks, in order of rank, once each has one.

        Args:
            result: this rank's; anything that JSON can write.
            while_waiting: called again and again until then.

        Raises:
            RankError: another rank has stopped.
        """
        if self._store is None:
            return gather_lists([result])
        self._store.set(f"{self._prefix}/result/{self.rank}", json.dumps(result))
        keys = [f"{self._prefix}/result/{rank}" for rank in range(self.num_ranks)]
        while not self._store.check(keys):
            self._look_after_others()
            while_waiting()
            time.sleep(_POLL_S)
        return [json.loads(self._store.get(key)) for key in keys]

    def _look_after_others(self) -> None:
        if self.num_ranks > 1 and self._store.check([f"{self._prefix}/error"]):
            raise RankError(self._store.get(f"{self._prefix}/error").decode())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if error is not None and not isinstance(error, RankError) and self._store is not None:
            told = str(error) or type(error).__name__
            self._store.set(f"{self._prefix}/error", f"rank {self.rank} of {self.num_ranks} has stopped: {told}")


def exchange(mine: Any) -> list[Any]:
    """What each rank has, in order of rank, however much later one of them comes; anything that JSON can write."""
    with SharedWork(0) as work:
        return work.finish(mine)


def _has_group() -> bool:
    return distributed.is_available() and distributed.is_initialized()
