"""DeepSpeed ZeRO as a strategy of the trainer: a large part in shares, the rest whole, checkpoints like any other.

The module says which part of it is scattered (`Scattering`): the MLLM beside a sampler, or a captioner as a whole.
What is added to Lightning's `DeepSpeedStrategy`:

- **The rest stays outside.** The engine holds that part alone, in bfloat16 with float32 master weights where it was
  loaded so (ZeRO takes one precision), else in float32. A sampler is float32 and whole on every rank; its gradients
  are averaged once an update, and torch's AdamW steps it. Both sit behind the one optimizer that the module made.
- **One plain file a checkpoint**, the same under every strategy: the trained parameters whole (all of them, and the
  buffers, where the module loads strictly), and Adam's moments of each. So a run goes on under another strategy or on
  another number of ranks, and nothing is ever unpickled (DeepSpeed's own checkpoints are folders of pickles, bound to
  the number of ranks). It is written tensor by tensor.
- **CPU processes over gloo**, so that sharded training is tested where there is no GPU.

Facts (lightning 2.6.6, deepspeed 0.19): the strategy refuses CPUs in two places; DeepSpeed compares device indices, so
the device needs one; it takes no parameters without a dimension. ZeRO's hooks are on the modules; what its engine's
forward adds (weights used outside of their module, as tied embeddings are; the start of a new graph) is kept by running
every step inside that forward.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, Protocol

import torch
from jsonargparse.typing import NonNegativeInt
from lightning.pytorch.accelerators import CPUAccelerator
from lightning.pytorch.strategies import DeepSpeedStrategy, ParallelStrategy
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from modules.checkpoints.checkpoint_files import Gathered, read, write
from modules.distributed.sharded_states import MOMENTS, ShardedStates, master, set_parameter, whole_shape


class Scattering(Protocol):
    """What ZeRO asks of a LightningModule."""

    strict_loading: bool
    """Whether a checkpoint has all of its parameters and buffers, or those alone that are trained."""

    @property
    def scattered(self) -> nn.Module:
        """The child whose parameters are scattered over the ranks."""
        ...

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Of its one optimizer, each with its ``params``."""
        ...


class ShardedStrategy(DeepSpeedStrategy):
    """ZeRO: optimizer states and gradients (stage 2) and parameters (3) of one part lie scattered over the ranks.

    Args:
        stage: 2 or 3.
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
        if stage not in (2, 3):
            raise ValueError(f"stage={stage}: 2 or 3 (1 scatters less than 2 does and is no faster)")
        if offload_parameters and stage < 3:
            raise ValueError("offload_parameters: only stage 3 scatters parameters")
        super().__init__(
            stage=stage, offload_optimizer=offload_optimizer, offload_parameters=offload_parameters, **kwargs
        )
        self._forward_redirection = _ThroughEngine()  # type: ignore[assignment]
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

    @contextmanager
    def model_sharded_context(self) -> Iterator[None]:
        """A module is built whole, with the weights that it begins with, and scattered after that."""
        yield

    @property
    def scattered_name(self) -> str:
        """Of the child that is scattered."""
        module: Any = self.lightning_module
        return next(name for name, child in module.named_children() if child is module.scattered)

    def setup(self, trainer: Any) -> None:
        # `modules.distributed.precision` has settled who computes in what
        self.precision_plugin.convert_input = lambda data: data  # type: ignore[method-assign]
        self.precision_plugin.convert_module = lambda module: module  # type: ignore[method-assign]
        super().setup(trainer)

    def _initialize_deepspeed_train(self, module: Any) -> None:
        """Gives the engine the scattered part and its groups; the module's optimizer keeps the others."""
        optimizer, schedule = self._init_optimizers()
        module.to(self.root_device)
        self._replicate(module)
        held = {id(p) for p in module.scattered.parameters()}
        self._sharded = [g for g in optimizer.param_groups if any(id(p) in held for p in g["params"])]
        if not self._sharded:
            raise ValueError(
                "trainer.strategy: ZeRO scatters what an MLLM is trained with, and under evolve: sampler it is not "
                "trained; the frozen MLLM is whole on every GPU anyway: use ddp (recipes/overlays/ddp.yaml)"
            )
        self._configure(module)
        inner = AdamW([dict(group) for group in self._sharded])
        engine, _ = self._setup_model_and_optimizer(_Held(module.scattered), inner)
        self._set_deepspeed_activation_checkpointing()
        self._engine = self.model = engine
        self._states = ShardedStates(engine)
        for group in self._sharded:  # its rate and decay are set here as ever; its parameters are DeepSpeed's to step
            group["params"] = []
        self.optimizers = [optimizer]
        self.lr_scheduler_configs = [] if schedule is None else [schedule]

    def _configure(self, module: Any) -> None:
        """What DeepSpeed has to be told of this model."""
        assert isinstance(self.config, dict)
        half = any(p.dtype == torch.bfloat16 for p in module.scattered.parameters())
        self.config["bf16"] = {"enabled": half}
        if half:  # parts of a batch add up in float32
            self.config["data_types"] = {"grad_accum_dtype": "fp32"}
        self.config["gradient_clipping"] = float(module.optimization.max_grad_norm)
        self.config["zero_force_ds_cpu_optimizer"] = False  # offloaded states too are AdamW's

    def _replicate(self, module: Any) -> None:
        """What DeepSpeed does not hold begins on every rank as it is on the first."""
        held = {id(buffer) for buffer in module.scattered.buffers()}
        for tensor in (*self._whole(module), *(b for b in module.buffers() if id(b) not in held)):
            torch.distributed.broadcast(tensor.data, 0)

    @staticmethod
    def _whole(module: Any) -> list[nn.Parameter]:
        """Parameters that every rank has, in one order."""
        held = {id(p) for p in module.scattered.parameters()}
        return [p for p in module.parameters() if id(p) not in held]

    def average_gradients(self) -> None:
        """Averages over ranks the gradients of what each rank has whole."""
        parameters = [p for p in self._whole(self.lightning_module) if p.requires_grad]
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        if not parameters:
            return
        flat = torch.cat([p.grad.flatten() for p in parameters])  # type: ignore[union-attr]
        torch.distributed.all_reduce(flat)
        flat /= self.world_size
        for parameter, mean in zip(parameters, flat.split([p.numel() for p in parameters]), strict=True):
            parameter.grad = mean.view_as(parameter)

    def step_sharded(self) -> Tensor:
        """DeepSpeed's step, with the rates that the schedule has set; the norm of the gradient, if finite, else inf.

        A gradient that is not finite changes nothing, on all ranks.
        """
        for ours, theirs in zip(self._sharded, self._engine.optimizer.param_groups, strict=True):
            theirs.update({k: v for k, v in ours.items() if k != "params"})
        self._engine.step()
        applied = self._engine.was_step_applied()
        return torch.as_tensor(self._engine.get_global_grad_norm() if applied else float("inf"))

    def drop_gradients(self) -> None:
        """Forgets what parts of a step have left in DeepSpeed."""
        self._engine.optimizer.zero_grad()

    def optimizer_step(self, optimizer: Optimizer, closure: Callable[[], Any], model: Any = None, **kwargs: Any) -> Any:
        """Of what every rank has whole; DeepSpeed steps the rest, in `step_sharded`."""
        return optimizer.step(closure, **kwargs)

    def _initialize_deepspeed_inference(self, module: Any) -> None:
        """Evaluation gathers all parameters anyway (see `gathered`): the engine that trained them will do, or none.

        Lightning's own way takes every hook off the model, also those by which transformers collects hidden states.
        """
        trained_here = self._engine is not None and self._engine.module.part is module.scattered
        self.model = self._engine if trained_here else module.to(self.root_device)

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

    def _saved(self) -> Iterator[tuple[str, Any]]:
        """What a checkpoint has of the module, by name."""
        module: Any = self.lightning_module
        if module.strict_loading:
            return iter(module.state_dict(keep_vars=True).items())
        return ((n, p) for n, p in module.named_parameters() if p.requires_grad)

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """Everything that is saved, or what will put it together."""
        module: Any = self.lightning_module
        held = {id(p) for p in module.scattered.parameters()} if self._engine is not None else set()
        return {
            name: Gathered(whole_shape(p), partial(master, p)) if id(p) in held else p.detach()
            for name, p in self._saved()
        }

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """As torch's AdamW has it: parameters numbered in the order of the groups."""
        self._states.make()
        state: dict[int, dict[str, Any]] = {}
        groups = []
        for group, parameters, sharded in self._groups(optimizer):
            numbers = list(range(len(state), len(state) + len(parameters)))
            for number, parameter in zip(numbers, parameters, strict=True):
                state[number] = self._sharded_state(parameter) if sharded else dict(optimizer.state[parameter])
            groups.append({**{k: v for k, v in group.items() if k != "params"}, "params": numbers})
        return {"state": state, "param_groups": groups}

    def _sharded_state(self, parameter: nn.Parameter) -> dict[str, Any]:
        shape = whole_shape(parameter)
        moments = {key: Gathered(shape, partial(self._states.moment, parameter, key)) for key in MOMENTS}
        return {"step": self._states.step, **moments}  # a tensor of its own for each: torch counts in place

    def _groups(self, optimizer: Optimizer) -> list[tuple[dict[str, Any], list[nn.Parameter], bool]]:
        """Groups with their parameters and whether DeepSpeed has them, in the module's order."""
        module: Any = self.lightning_module
        sharded = {id(group) for group in self._sharded}
        return [
            (group, ours["params"], id(group) in sharded)
            for group, ours in zip(optimizer.param_groups, module.parameter_groups(), strict=True)
        ]

    def save_checkpoint(self, checkpoint: dict[str, Any], filepath: Any, storage_options: Any = None) -> None:
        write(checkpoint, self.broadcast(filepath), writer=self.is_global_zero)
        self.barrier()

    def load_checkpoint(self, checkpoint_path: Any, weights_only: bool | None = None) -> dict[str, Any]:
        return read(checkpoint_path)  # mapped: every rank takes from it what it keeps

    @property
    def lightning_restore_optimizer(self) -> bool:
        return True

    def load_model_state_dict(self, checkpoint: Mapping[str, Any], strict: bool = True) -> None:
        saved = checkpoint["state_dict"]
        for name, parameter in self._saved():
            if name in saved:
                set_parameter(parameter, saved[name])

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        (saved,) = checkpoint["optimizer_states"]
        (optimizer,) = self.optimizers
        self._states.make()
        for (group, parameters, sharded), old in zip(self._groups(optimizer), saved["param_groups"], strict=True):
            group.update({k: v for k, v in old.items() if k != "params"})
            for number, parameter in zip(old["params"], parameters, strict=True):
                state = saved["state"].get(number, {})
                if not sharded:
                    optimizer.state[parameter] = _copied(state, parameter.device)
                    continue
                if state:  # there is none before the first finite step
                    for key in MOMENTS:
                        self._states.set_moment(parameter, key, state[key])
                    self._states.step = state["step"]


class _Held(nn.Module):
    """What DeepSpeed holds. Its forward runs what it is given, for the sake of what the engine does around it."""

    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        self.part = part

    def forward(self, run: Callable[[], Any]) -> Any:
        return run()


class _ThroughEngine:
    """Lightning's way to a step of the module, through an engine that holds only a part of it."""

    def __call__(self, engine: nn.Module, module: Any, method_name: str, *arguments: Any, **named: Any) -> Any:
        return engine(partial(getattr(module, method_name), *arguments, **named))


def _copied(state: Mapping[str, Any], device: torch.device) -> dict[str, Any]:
    """Adam's state of a parameter, out of a mapped file; the count of steps stays on the host."""
    return {k: v.clone() if k == "step" else v.to(device, copy=True) for k, v in state.items()}
