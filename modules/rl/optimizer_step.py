"""One optimizer step, whoever holds the parameters: every rank all of them, or DeepSpeed a share each.

Lightning hides most of the difference. What it does not hide is here: who clips gradients, what is done about numbers
that are not finite, and that parameters which lie scattered over ranks have to be gathered before text is generated.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import lightning as L
import torch
from lightning.pytorch.strategies import DDPStrategy, DeepSpeedStrategy
from torch import Tensor

from modules.distributed.sharding import ShardedStrategy


class OptimizerStep:
    """Every rank holds all parameters (one process, DDP).

    Args:
        max_grad_norm: of each parameter group.
        max_nonfinite_steps: stop after so many steps in a row whose loss or gradient is not finite.
    """

    shards = False
    """Whether parameters lie scattered over ranks, so that a graph built inside `gathered` is of no use outside."""

    def __init__(self, max_grad_norm: float, max_nonfinite_steps: int) -> None:
        self.max_grad_norm, self.max_nonfinite_steps = max_grad_norm, max_nonfinite_steps
        self._nonfinite_in_a_row = 0

    @contextmanager
    def gathered(self, module: L.LightningModule) -> Iterator[None]:
        """Inside, every rank has every parameter, and may run as many forwards as it likes."""
        yield

    def backward(self, module: L.LightningModule, loss: Tensor, last: bool) -> None:
        """Adds the gradient of a loss; ``last`` of those that share a step, with which ranks share theirs."""
        strategy = module.trainer.strategy
        wait = nullcontext() if last or not isinstance(strategy, DDPStrategy) else strategy.block_backward_sync()
        with wait:
            module.manual_backward(loss)

    def step(self, module: L.LightningModule, loss: Tensor) -> dict[str, Tensor]:
        """Clips, steps, and gives the gradient norm of each group; a step that is not finite changes nothing."""
        optimizer: Any = module.optimizers()
        norms = self.clip(optimizer)
        finite = self.is_finite(module, [*norms.values(), loss])
        self.finish(module, finite, loss)
        return norms

    def clip(self, optimizer: Any) -> dict[str, Tensor]:
        """Clips the gradient of each group that this rank has whole; its norm before, by the group's name."""
        return {
            group["name"]: torch.nn.utils.clip_grad_norm_(group["params"], self.max_grad_norm)
            for group in optimizer.param_groups
            if group["params"]
        }

    @staticmethod
    def is_finite(module: L.LightningModule, values: list[Tensor]) -> bool:
        """Whether they are finite on all ranks: a rank that left a step out alone would go its own way."""
        here = torch.stack([value.detach().float().to(values[0].device) for value in values]).isfinite().all()
        return module.trainer.strategy.reduce_boolean_decision(bool(here), all=True)

    def finish(self, module: L.LightningModule, finite: bool, loss: Tensor) -> None:
        """Steps what each rank has whole, without gradients if they are not finite, and the schedule."""
        optimizer: Any = module.optimizers()
        if not finite:
            optimizer.zero_grad()
        optimizer.step()  # without gradients this changes nothing but counts the step
        optimizer.zero_grad()
        self.count(module, finite, loss)
        module.lr_schedulers().step()  # type: ignore[union-attr]

    def count(self, module: L.LightningModule, finite: bool, loss: Tensor) -> None:
        """Counts steps that are not finite.

        Raises:
            RuntimeError: too many of them in a row.
        """
        metrics: Any = module.metrics
        metrics.add({"train/nonfinite_step": 0.0 if finite else 1.0})
        self._nonfinite_in_a_row = 0 if finite else self._nonfinite_in_a_row + 1
        if self._nonfinite_in_a_row >= self.max_nonfinite_steps:
            raise RuntimeError(
                f"loss or gradient was not finite in {self._nonfinite_in_a_row} steps in a row "
                f"(max_nonfinite_steps); last loss {loss.item()}"
            )


class ShardedOptimizerStep(OptimizerStep):
    """DeepSpeed holds gradients and optimizer states of what is scattered (ZeRO-2), and its parameters too (3), a share
    on each rank, and clips them all together; a sampler is whole on every rank, and what is above holds for it."""

    shards = True
    _finite = True

    @contextmanager
    def gathered(self, module: L.LightningModule) -> Iterator[None]:
        strategy: Any = module.trainer.strategy
        with strategy.gathered():
            yield

    def backward(self, module: L.LightningModule, loss: Tensor, last: bool) -> None:
        engine: Any = module.trainer.strategy.model
        self._finite = self._finite and self.is_finite(module, [loss])  # all ranks take part in a backward, or none
        if self._finite:
            engine.set_gradient_accumulation_boundary(is_boundary=last)
            module.manual_backward(loss)
            if not last:  # what the engine does at its next forward: the next backward adds to this one's gradient
                engine.optimizer.clear_backward_seen_flag()

    def step(self, module: L.LightningModule, loss: Tensor) -> dict[str, Tensor]:
        optimizer: Any = module.optimizers()
        strategy: Any = module.trainer.strategy
        norms: dict[str, Tensor] = {}
        finite, self._finite = self._finite, True
        if finite:
            strategy.average_gradients()
            norms = self.clip(optimizer)
            finite = not norms or self.is_finite(module, list(norms.values()))
        if finite:
            norm = norms[strategy.scattered_name] = strategy.step_sharded()
            finite = bool(norm.isfinite())
        else:
            strategy.drop_gradients()
        self.finish(module, finite, loss)
        return norms


def optimizer_step_for(strategy: Any, max_grad_norm: float, max_nonfinite_steps: int) -> OptimizerStep:
    """The kind of step that a trainer's strategy asks for.

    Raises:
        ValueError: Lightning's own DeepSpeed strategy, whose checkpoints are pickles.
    """
    if isinstance(strategy, DeepSpeedStrategy) and not isinstance(strategy, ShardedStrategy):
        raise ValueError(
            "trainer.strategy: DeepSpeed comes as modules.distributed.sharding.ShardedStrategy here "
            "(recipes/overlays/zero3.yaml), whose checkpoints are plain data"
        )
    kind = ShardedOptimizerStep if isinstance(strategy, ShardedStrategy) else OptimizerStep
    return kind(max_grad_norm, max_nonfinite_steps)
