"""How far a training has come through its batches, so that a resumed one begins behind them."""

from __future__ import annotations

import logging
from typing import Any

_log = logging.getLogger(__name__)


class BatchesUsed:
    """Counts global batches, and survives in a checkpoint."""

    def __init__(self) -> None:
        self.count = 0
        self._global_batch_before: int | None = None
        """Questions a batch over all ranks of the run that is resumed, until it has begun."""

    def begin(self, global_batch: int) -> int:
        """The number of the first batch, for batches of ``global_batch`` questions over all ranks.

        A resumed run's may be of another size than before, or on another number of ranks: it begins with the first
        batch that holds no question of this epoch which was used already, and that is said.
        """
        before, self._global_batch_before = self._global_batch_before, None
        if before is not None and before != global_batch:
            self.count = -(-self.count * before // global_batch)
            _log.warning(
                "this run had batches of %d questions over all ranks and goes on with %d: it begins after %d "
                "questions, and from the end of this epoch on their order may differ from that of an undisturbed run",
                *(before, global_batch, self.count * global_batch),
            )
        return self.count

    def state(self, global_batch: int) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"batches_used": self.count, "global_batch": global_batch}

    def restore(self, state: dict[str, Any]) -> None:
        """Takes up what a checkpoint kept."""
        self.count, self._global_batch_before = state["batches_used"], state.get("global_batch")
