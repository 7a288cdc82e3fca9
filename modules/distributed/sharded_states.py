"""What DeepSpeed holds in shares, read and written whole: float32 parameters and Adam's moments of each.

Facts (deepspeed 0.19): its setters of whole tensors fail at stage 3 for those that do not divide by the number of
ranks, so shares are cut here; at stage 2 it learns which moments are whose only after every group has stepped.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

MOMENTS = ("exp_avg", "exp_avg_sq")


class ShardedStates:
    """Adam's moments of parameters that DeepSpeed keeps in shares on all ranks.

    Args:
        engine: DeepSpeed's, at stage 2 or 3. What is done to one tensor is done on all ranks together.
    """

    def __init__(self, engine: Any) -> None:
        self.optimizer = engine.optimizer
        self.partitioned = bool(engine.zero_optimization_partition_weights())

    def make(self) -> None:
        """Makes Adam's moments where there are none yet, and tells DeepSpeed (stage 2) which are whose."""
        optimizer = self.optimizer
        flats = (
            optimizer.fp32_partitioned_groups_flat if self.partitioned else optimizer.single_partition_of_fp32_groups
        )
        for flat in flats:
            state = optimizer.optimizer.state[flat]
            if not state:
                state.update({"step": torch.tensor(0.0), **{key: torch.zeros_like(flat) for key in MOMENTS}})
        if not self.partitioned:
            optimizer._hp_optimizer_states_linked = False
            optimizer._lazy_init_hp_params_optimizer_state()

    @property
    def step(self) -> Tensor:
        """Float32 (), Adam's count of steps."""
        counts = [state["step"] for state in self.optimizer.optimizer.state.values() if "step" in state]
        return torch.as_tensor(counts[0] if counts else 0.0, dtype=torch.float32).cpu().clone()

    @step.setter
    def step(self, count: Tensor) -> None:
        for state in self.optimizer.optimizer.state.values():
            if "step" in state:
                state["step"] = torch.as_tensor(count).clone()

    def moment(self, parameter: nn.Parameter, key: str) -> Tensor:
        """Float32, of the parameter's shape."""
        from deepspeed.utils import safe_get_full_optimizer_state

        return safe_get_full_optimizer_state(parameter, key)

    def set_moment(self, parameter: nn.Parameter, key: str, whole: Tensor) -> None:
        from deepspeed.utils import safe_set_full_optimizer_state, safe_set_local_optimizer_state

        if self.partitioned:
            safe_set_local_optimizer_state(parameter, own_share(parameter, whole), key)
        else:
            safe_set_full_optimizer_state(parameter, whole.to(parameter.device, torch.float32), key)


def whole_shape(parameter: nn.Parameter) -> torch.Size:
    """Of a parameter, also where this rank has but a share of it."""
    return getattr(parameter, "ds_shape", parameter.shape)


def master(parameter: nn.Parameter) -> Tensor:
    """The float32 parameter behind what DeepSpeed computes with; one that is not trained has no other behind it."""
    if not parameter.requires_grad:
        return _whole(parameter)
    from deepspeed.utils import safe_get_full_fp32_param

    return safe_get_full_fp32_param(parameter)


def _whole(parameter: nn.Parameter) -> Tensor:
    if not hasattr(parameter, "ds_id"):  # stage 2
        return parameter.detach()
    from deepspeed.runtime.zero import GatheredParameters

    with GatheredParameters([parameter]):
        return parameter.detach().clone()


@torch.no_grad()
def set_parameter(parameter: nn.Parameter, whole: Tensor) -> None:
    """Writes a parameter, whoever holds it: this rank alone, or DeepSpeed with its float32 master."""
    if hasattr(parameter, "ds_id"):  # stage 3
        from deepspeed.runtime.zero import GatheredParameters
        from deepspeed.utils import safe_set_local_fp32_param

        with GatheredParameters([parameter], modifier_rank=0):
            if torch.distributed.get_rank() == 0:  # it gives the others their shares
                parameter.copy_(whole)
        if hasattr(parameter, "_z3_optimizer") and parameter.requires_grad:
            safe_set_local_fp32_param(parameter, own_share(parameter, whole))
        return
    parameter.copy_(whole)
    if getattr(parameter, "_hp_mapping", None) is not None:  # stage 2, on the rank that has a part of the master
        from deepspeed.utils import safe_set_full_fp32_param

        safe_set_full_fp32_param(parameter, whole.to(parameter.device, torch.float32))


def own_share(parameter: Any, whole: Tensor) -> Tensor:
    """This rank's part of a whole tensor, as stage 3 cuts it: equal parts, the last filled up; float32."""
    size = parameter.partition_numel()
    start = torch.distributed.get_rank() * size
    own = whole.flatten()[start : start + size].to(parameter.device, torch.float32)
    return torch.nn.functional.pad(own, (0, size - own.numel()))
