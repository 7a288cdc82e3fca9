"""What is logged of an update: means over its batches and over all ranks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

import lightning as L
import torch
from torch import Tensor

from modules.distributed.ranks import gather_lists


class UpdateMetrics:
    """Collects numbers by name until they are asked for."""

    def __init__(self) -> None:
        self._values: dict[str, list[Tensor | float]] = defaultdict(list)

    def add(self, metrics: Mapping[str, Tensor | float]) -> None:
        """More values; NaN means that a metric does not apply."""
        for name, value in metrics.items():
            self._values[name].append(value.detach() if isinstance(value, Tensor) else value)

    def reduced(self) -> dict[str, float]:
        """The mean of each over everything that was added since the last time, on any rank; NaN where nothing applies.

        All ranks have to ask together; a name need not be known to all of them.
        """
        values: dict[str, list[float]] = defaultdict(list)
        for name, mine in gather_lists(self._on_host()):
            values[name].append(mine)
        self._values.clear()
        return {name: _mean(v) for name, v in sorted(values.items())}

    def _on_host(self) -> list[tuple[str, float]]:
        """(name, value) of all that was added; whatever lies on a device comes over in one copy."""
        flat = [(name, value) for name, values in self._values.items() for value in values]
        tensors = [value.float() for _, value in flat if isinstance(value, Tensor)]
        copied = iter(torch.stack(tensors).tolist() if tensors else [])
        return [(name, next(copied) if isinstance(value, Tensor) else float(value)) for name, value in flat]


def log_means(module: L.LightningModule, means: Mapping[str, float], every_n_steps: int = 1) -> None:
    """Logs under the number of the update; Lightning's own number counts batches, and repeats what it has.

    Args:
        module: whose trainer's loggers and callbacks are told.
        means: by the path that each is logged under.
        every_n_steps: updates from one line of the loggers to the next.
    """
    for name, value in means.items():
        module.log(name, value, batch_size=1, logger=False, prog_bar=name in ("reward/total", "val/accuracy"))
    if module.global_step % every_n_steps == 0:
        for logger in module.loggers:
            logger.log_metrics(dict(means), module.global_step)


def _mean(values: list[float]) -> float:
    real = [v for v in values if v == v]
    return sum(real) / len(real) if real else float("nan")
