"""Who computes in what: the sampler in float32 whatever is asked for, the MLLM as it was loaded or as the trainer says.

Lightning's precision plugins know one precision for all that a step touches: ``bf16-true`` would cast the sampler, the
batch's times (bfloat16 tells seconds apart up to 256) and torch's default dtype, ``bf16-mixed`` would run the sampler
under autocast. So the plugin is read here, and then out of the way:

=============  ==================================================  =======================
``precision``  MLLM's weights                                      its forwards
=============  ==================================================  =======================
``32-true``    as loaded (``loading.dtype``)                       in that precision
``bf16-true``  bfloat16, as with ``loading.dtype: bfloat16``       bfloat16
``bf16-mixed`` as loaded; under ZeRO as with ``bf16-true``         bfloat16, by autocast
=============  ==================================================  =======================

What is trained is float32: DeepSpeed keeps float32 master weights of a bfloat16 model, each rank its share. Without it
the trainable parameters themselves (LoRA layers, or the language model) are float32 and the forwards run under
autocast: at 1e-5 a step is smaller than half the distance between most neighbouring bfloat16 numbers, and is lost.
"""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch.plugins import Precision
from lightning.pytorch.strategies import Strategy
from torch import Tensor, nn

from modules.distributed.sharding import ShardedStrategy
from modules.mllms.base import MLLM

_HALVES = (torch.bfloat16, torch.float16)


def settle_precision(strategy: Strategy, mllm: MLLM, copy: MLLM | None = None) -> None:
    """Gives the MLLM, and a frozen copy of it, their precision; takes the trainer's plugin out of the way.

    To be called before the strategy sets up the model.

    Args:
        strategy: of the trainer, with its precision plugin.
        mllm: what answers; the parameters that will be trained require gradients.
        copy: of the MLLM as it was, to compute as it does.

    Raises:
        ValueError: a precision that is not in the table.
    """
    precision = str(strategy.precision_plugin.precision)
    if precision not in ("32-true", "bf16-true", "bf16-mixed"):
        raise ValueError(
            f"trainer.precision: {precision}; 32-true (the MLLM as model.mllm.init_args.loading.dtype says), bf16-true "
            "or bf16-mixed. float16 would need its loss scaled, and the sampler is float32 in any case"
        )
    sharded = isinstance(strategy, ShardedStrategy)
    if precision == "bf16-true" or (sharded and precision == "bf16-mixed"):
        mllm.to(torch.bfloat16)
    if not sharded:
        strategy.precision_plugin = Precision()
        trained = _train_in_float32(mllm)
        if trained is not None or precision == "bf16-mixed":
            for model in (mllm,) if copy is None else (mllm, copy):
                compute_in(model, trained or torch.bfloat16)
    if copy is not None:
        for theirs, ours in zip(copy.parameters(), mllm.parameters(), strict=True):
            theirs.data = theirs.data.to(ours.dtype)


def _train_in_float32(mllm: nn.Module) -> torch.dtype | None:
    """Casts trainable parameters to float32; gives the precision that they had, None where it was float32 already."""
    small = [p for p in mllm.parameters() if p.requires_grad and p.dtype in _HALVES]
    dtypes = {p.dtype for p in small}
    for parameter in small:
        parameter.data = parameter.data.float()
    return dtypes.pop() if dtypes else None


def compute_in(mllm: MLLM, dtype: torch.dtype) -> None:
    """Runs all that an MLLM's model computes under autocast."""
    for part in mllm.entrances:
        autocast = _Autocast(dtype)
        part.register_forward_pre_hook(autocast.enter)
        part.register_forward_hook(autocast.leave, always_call=True)


class _Autocast:
    """Hooks that turn autocast on before a module's forward and off behind it."""

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype
        self.entered: list[torch.autocast] = []

    def enter(self, module: nn.Module, inputs: Any) -> None:
        device: Tensor = next(module.parameters())
        context = torch.autocast(device.device.type, self.dtype)
        context.__enter__()
        self.entered.append(context)

    def leave(self, module: nn.Module, inputs: Any, output: Any) -> None:
        self.entered.pop().__exit__(None, None, None)
