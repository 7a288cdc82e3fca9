"""DeepSpeed ZeRO as a strategy of the trainer, with checkpoints like everybody else's.

What it adds to Lightning's `DeepSpeedStrategy`:

- **One plain file a checkpoint**, the same under every strategy: the trained parameters whole, and Adam's moments of
  each. So a run goes on under another strategy or on another number of ranks, a sampler-only checkpoint stays small,
  and nothing is ever unpickled (DeepSpeed's own checkpoints are folders of pickles, bound to the number of ranks). The
  price: rank 0 gathers 12 bytes a trained parameter in host memory.
- **CPU processes over gloo**, so that sharded training is tested where there is no GPU.

Facts (lightning 2.6.6, deepspeed 0.19): the strategy refuses CPUs in two places; DeepSpeed compares device indices, so
the device needs one; it takes no parameters without a dimension. Its setters of whole fp32 parameters and states fail
for those that do not divide by the number of ranks, so that shares are cut here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from jsonargparse.typing import NonNegativeInt
from lightning.pytorch.accelerators import CPUAccelerator
from lightning.pytorch.strategies import DeepSpeedStrategy, ParallelStrategy
from torch import Tensor, nn
from torch.optim import Optimizer

_MOMENTS = ("exp_avg", "exp_avg_sq")


class ShardedStrategy(DeepSpeedStrategy):
    """ZeRO: optimizer states (stage 1), gradients (2) and parameters (3) lie scattered over the ranks.

    Args:
        stage: 1, 2 or 3.
        offload_optimizer: Adam's states in host memory.
        offload_parameters: parameters in host memory, too (stage 3).
        kwargs: of Lightning's strategy.
    """

    def __init__(
        self,
        *,
        stage: NonNegativeInt = 3,
        offload_optimizer: bool = False,
        offload_parameters: bool = False,
        **kwargs: Any,
    ) -> None:
        if stage not in (1, 2, 3):
            raise ValueError(f"stage={stage}: 1, 2 or 3")
        if offload_parameters and stage < 3:
            raise ValueError("offload_parameters: only stage 3 scatters parameters")
        super().__init__(
            stage=stage, offload_optimizer=offload_optimizer, offload_parameters=offload_parameters, **kwargs
        )
        self._engine: Any = None

    # ---- CPU ----

    @property
    def root_device(self) -> torch.device:
        device = super().root_device
        return torch.device("cpu", self.local_rank) if device.type == "cpu" else device

    def setup_environment(self) -> None:
        if isinstance(self.accelerator, CPUAccelerator):
            ParallelStrategy.setup_environment(self)
            self.setup_distributed()
        else:
            super().setup_environment()

    def setup_distributed(self) -> None:
        if not isinstance(self.accelerator, CPUAccelerator):
            super().setup_distributed()
            return
        self.set_world_ranks()
        self._process_group_backend = "gloo"
        self._init_deepspeed_distributed()

    # ---- training ----

    def setup(self, trainer: Any) -> None:
        # batches stay as they are: times and scores are float32 whatever the model's precision
        self.precision_plugin.convert_input = lambda data: data  # type: ignore[method-assign]
        super().setup(trainer)

    def _setup_model_and_optimizer(
        self, model: nn.Module, optimizer: Optimizer | None, lr_scheduler: Any = None
    ) -> tuple[Any, Optimizer]:
        assert isinstance(self.config, dict)
        self.config["gradient_clipping"] = float(getattr(model, "max_grad_norm", 0.0))
        self.config["zero_force_ds_cpu_optimizer"] = False  # offloaded states too are AdamW's
        self._engine, sharded = super()._setup_model_and_optimizer(model, optimizer, lr_scheduler)
        return self._engine, sharded

    def _initialize_deepspeed_inference(self, model: nn.Module) -> None:
        """Evaluation gathers all parameters anyway (see `gathered`): the engine that trained them will do, or none.

        Lightning's own way takes every hook off the model, also those by which transformers collects hidden states.
        """
        trained_here = self._engine is not None and self._engine.module is model
        self.model = self._engine if trained_here else model

    @contextmanager
    def gathered(self) -> Iterator[None]:
        """Inside, every rank has every parameter, so ranks may run different numbers of forwards; without graph."""
        if self._engine is None or not self.zero_stage_3:
            yield
            return
        from deepspeed.runtime.zero import GatheredParameters

        # with its hooks in place each module's forward would scatter its parameters again
        offload = self._engine.optimizer.parameter_offload
        for hook in (*offload.forward_hooks, *offload.backward_hooks):
            hook.remove()
        offload.forward_hooks, offload.backward_hooks = [], []
        parameters = list(self._engine.module.parameters())
        for parameter in parameters:  # a module whose inputs need no gradient is never told that backward has left it
            parameter.ds_active_sub_modules.clear()
        try:
            with GatheredParameters(parameters):
                yield
        finally:
            offload.setup_zero_stage3_hooks()

    # ---- checkpoints ----

    def _trained(self) -> Iterator[tuple[str, nn.Parameter]]:
        assert self.lightning_module is not None
        return ((n, p) for n, p in self.lightning_module.named_parameters() if p.requires_grad)

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """Every trained parameter, whole, on rank 0; nothing on the others."""
        from deepspeed.utils import safe_get_full_fp32_param

        state = {}
        for name, parameter in self._trained():
            full = safe_get_full_fp32_param(parameter)
            if self.is_global_zero:
                state[name] = full.detach().to("cpu", copy=True)
        return state

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """As torch's AdamW has it: parameters numbered in the order of the groups."""
        from deepspeed.utils import safe_get_full_optimizer_state

        self._link_moments(optimizer)
        state: dict[int, dict[str, Tensor]] = {}
        groups = []
        for group, parameters in self._groups(optimizer):
            numbers = []
            for parameter in parameters:
                number = len(state)
                numbers.append(number)
                moments = {key: safe_get_full_optimizer_state(parameter, key) for key in _MOMENTS}
                state[number] = {}
                if self.is_global_zero:
                    state[number] = {key: value.detach().to("cpu", copy=True) for key, value in moments.items()}
                    state[number]["step"] = self._step_count(optimizer)
            groups.append({**{k: v for k, v in group.items() if k != "params"}, "params": numbers})
        return {"state": state, "param_groups": groups}

    def _link_moments(self, optimizer: Any) -> None:
        """Makes Adam's states where there are none yet, and tells DeepSpeed (stages 1 and 2) which are whose.

        It does the latter itself after the first group has stepped, when the second group has no states yet.
        """
        three = self.zero_stage_3
        for flat in optimizer.fp32_partitioned_groups_flat if three else optimizer.single_partition_of_fp32_groups:
            state = optimizer.optimizer.state[flat]
            if not state:
                state.update({"step": torch.tensor(0.0), **{key: torch.zeros_like(flat) for key in _MOMENTS}})
        if not three:
            optimizer._hp_optimizer_states_linked = False
            optimizer._lazy_init_hp_params_optimizer_state()

    def _groups(self, optimizer: Any) -> list[tuple[dict[str, Any], list[nn.Parameter]]]:
        """DeepSpeed's groups hold flat shards, ours the parameters; both in one order."""
        module: Any = self.lightning_module
        ours = module.parameter_groups()
        return list(zip(optimizer.param_groups, [group["params"] for group in ours], strict=True))

    @staticmethod
    def _step_count(optimizer: Any) -> Tensor:
        inner = getattr(optimizer, "optimizer", optimizer)
        counts = [state["step"] for state in inner.state.values() if "step" in state]
        # a tensor of its own for each parameter: torch counts in place
        return torch.as_tensor(counts[0] if counts else 0.0, dtype=torch.float32).cpu().clone()

    def save_checkpoint(self, checkpoint: dict[str, Any], filepath: Any, storage_options: Any = None) -> None:
        if self.is_global_zero:
            self.checkpoint_io.save_checkpoint(checkpoint, filepath, storage_options=storage_options)
        self.barrier()

    def load_checkpoint(self, checkpoint_path: Any, weights_only: bool | None = None) -> dict[str, Any]:
        # mapped, not read: every rank takes from it what it keeps
        return torch.load(checkpoint_path, map_location="cpu", mmap=True, weights_only=True)

    @property
    def lightning_restore_optimizer(self) -> bool:
        return True

    def _own_share(self, parameter: Any, whole: Tensor) -> Tensor:
        """This rank's part of a whole tensor, as stage 3 cuts it: equal parts, the last filled up."""
        size = parameter.partition_numel()
        filled = torch.zeros(size * self.world_size, dtype=torch.float32)
        filled[: whole.numel()] = whole.flatten()
        return filled[self.global_rank * size : (self.global_rank + 1) * size].to(parameter.device)

    def load_model_state_dict(self, checkpoint: Mapping[str, Any], strict: bool = True) -> None:
        from deepspeed.runtime.zero import GatheredParameters
        from deepspeed.utils import safe_set_full_fp32_param, safe_set_local_fp32_param

        saved = checkpoint["state_dict"]
        for name, parameter in self._trained():
            if name not in saved:
                continue
            with GatheredParameters([parameter], modifier_rank=0, enabled=self.zero_stage_3), torch.no_grad():
                parameter.copy_(saved[name].to(parameter))
            if self._engine is None:
                continue
            if self.zero_stage_3:
                safe_set_local_fp32_param(parameter, self._own_share(parameter, saved[name]))
            else:
                safe_set_full_fp32_param(parameter, saved[name].to(parameter.device, torch.float32))

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        from deepspeed.utils import safe_set_full_optimizer_state, safe_set_local_optimizer_state

        (saved,) = checkpoint["optimizer_states"]
        (optimizer,) = self.optimizers
        self._link_moments(optimizer)
        step: Tensor | None = None
        for (group, parameters), old in zip(self._groups(optimizer), saved["param_groups"], strict=True):
            group.update({k: v for k, v in old.items() if k != "params"})
            for number, parameter in zip(old["params"], parameters, strict=True):
                moments = saved["state"][number]
                step = moments["step"]
                for key in _MOMENTS:
                    if self.zero_stage_3:
                        safe_set_local_optimizer_state(parameter, self._own_share(parameter, moments[key]), key)
                    else:
                        safe_set_full_optimizer_state(parameter, moments[key].to(parameter.device), key)
        inner = getattr(optimizer, "optimizer", optimizer)
        for state in inner.state.values():
            if "step" in state and step is not None:
                state["step"] = torch.as_tensor(step).clone()
