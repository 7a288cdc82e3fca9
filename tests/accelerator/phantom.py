"""The device of `phantom.cpp` in PyTorch and Lightning: built once, registered under the name ``phantom``.

PyTorch has room for one device of somebody's own, and its name and kernels are the process's: register it in a process
that does nothing else.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import traceback
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from lightning.pytorch.accelerators import Accelerator, AcceleratorRegistry
from torch.utils._python_dispatch import TorchDispatchMode

NAME = "phantom"
_SOURCE = Path(__file__).with_name("phantom.cpp")
_ROOT = _SOURCE.parents[2]
_BUILD = _ROOT / "build" / "accelerator"
_OURS = tuple(f"{_ROOT / package}/" for package in ("modules", "datamodules", "callbacks", "recipes", "tests"))


def missing() -> str | None:
    """Why the device cannot be built here; None where it can."""
    compiler = os.environ.get("CXX", "g++")
    return (
        None if shutil.which(compiler) else f"the phantom accelerator needs a C++ compiler, and {compiler} is not here"
    )


def build() -> Path:
    """The compiled device, from the build folder where source, PyTorch and compiler have not changed since.

    Raises:
        RuntimeError: it does not compile; has what the compiler said.
    """
    compiler, root = os.environ.get("CXX", "g++"), Path(torch.__file__).parent
    command = [
        compiler,
        "-std=c++20",
        "-O1",
        "-w",
        "-shared",
        "-fPIC",
        f"-D_GLIBCXX_USE_CXX11_ABI={int(torch.compiled_with_cxx11_abi())}",
        f"-I{root / 'include'}",
        f"-I{root / 'include/torch/csrc/api/include'}",
        str(_SOURCE),
        f"-L{root / 'lib'}",
        "-lc10",
        "-ltorch_cpu",
    ]
    version = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=True).stdout
    depends = (_SOURCE.read_text(), torch.__version__, version, *command)
    built = _BUILD / f"phantom-{hashlib.sha256(repr(depends).encode()).hexdigest()[:12]}.so"
    if not built.is_file():
        _BUILD.mkdir(parents=True, exist_ok=True)
        unfinished = built.with_suffix(f".{os.getpid()}")
        done = subprocess.run([*command, "-o", str(unfinished)], capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr[-4000:]}")
        unfinished.replace(built)  # at once: another process may be looking
    return built


def register() -> None:
    """Makes ``torch.device("phantom")`` and ``trainer.accelerator: phantom`` work in this process."""
    torch.utils.rename_privateuse1_backend(NAME)
    torch.ops.load_library(build())
    torch._register_device_module(NAME, _device_module())
    torch.utils.generate_methods_for_privateuse1_backend()
    torch.nn.Module._apply = _staying_tied(torch.nn.Module._apply)
    AcceleratorRegistry.register(NAME, PhantomAccelerator, description="host memory that is another device")


def _staying_tied(apply: Callable[..., torch.nn.Module]) -> Callable[..., torch.nn.Module]:
    """``Module._apply`` under which weights that are tied stay so.

    To a GPU a parameter moves in place. To a device of somebody's own PyTorch makes a new one for each place it is in.
    """

    def moved(self: torch.nn.Module, fn: Any, recurse: bool = True) -> torch.nn.Module:
        places = defaultdict(list)
        for module in self.modules():
            for name, parameter in module._parameters.items():
                if parameter is not None:
                    places[id(parameter)].append((module._parameters, name))
        result = apply(self, fn, recurse)
        for (first, name), *others in places.values():
            for parameters, other in others:
                parameters[other] = first[name]
        return result

    return moved


def _device_module() -> ModuleType:
    """``torch.phantom``, with what PyTorch asks of such a module."""
    module, calls = ModuleType(f"torch.{NAME}"), torch.ops.phantom
    module.is_available = lambda: True
    module.device_count = lambda: 1
    module.current_device = lambda: 0
    module.set_device = module.synchronize = lambda device=None: None
    module.device = lambda device: contextlib.nullcontext()
    module._is_in_bad_fork = lambda: False
    module.manual_seed = module.manual_seed_all = lambda seed: calls.seed(seed % 2**63)
    module.get_rng_state = lambda device=None: calls.rng_state()
    module.set_rng_state = lambda state, device=None: calls.set_rng_state(state)
    module.get_amp_supported_dtype = lambda: [torch.bfloat16, torch.float16]
    return module


class PhantomAccelerator(Accelerator):
    """Lightning's side: one device, nothing to set up."""

    def setup_device(self, device: torch.device) -> None:
        if device.type != NAME:
            raise ValueError(f"the phantom accelerator was given {device}: the strategy has to be on {NAME}:0")

    def get_device_stats(self, device: Any) -> dict[str, Any]:
        return {}

    def teardown(self) -> None:
        pass

    @staticmethod
    def parse_devices(devices: Any) -> list[int]:
        return [0]

    @staticmethod
    def get_parallel_devices(devices: list[int]) -> list[torch.device]:
        return [torch.device(NAME, 0)]

    @staticmethod
    def auto_device_count() -> int:
        return 1

    @staticmethod
    def is_available() -> bool:
        return True

    @staticmethod
    def name() -> str:
        return NAME


@dataclass(frozen=True)
class Traffic:
    """What has made host and device wait for each other."""

    to_device: int = 0
    """Copies from the host."""
    to_host: int = 0
    """Copies of tensors to the host."""
    items: int = 0
    """Single numbers read by the host."""
    sizes: int = 0
    """Results whose size the host had to wait for: ``nonzero``, ``unique``, indexing by a mask."""

    @property
    def waits(self) -> int:
        """How often the host has waited for the device."""
        return self.to_host + self.items + self.sizes

    def __sub__(self, other: Traffic) -> Traffic:
        return Traffic(*(a - b for a, b in zip(self.counts, other.counts, strict=True)))

    @property
    def counts(self) -> tuple[int, int, int, int]:
        return self.to_device, self.to_host, self.items, self.sizes


def traffic() -> Traffic:
    """Since the device was registered."""
    return Traffic(*torch.ops.phantom.counters())


@contextlib.contextmanager
def counted() -> Iterator[list[Traffic]]:
    """What happens inside, as the list's one item once it has ended."""
    before, seen = traffic(), []
    yield seen
    seen.append(traffic() - before)


class HostArithmetic(TorchDispatchMode):
    """Notes what is multiplied or convolved on the host though there is a device, and from which line."""

    kernels = ("mm", "addmm", "bmm", "baddbmm", "convolution", "_scaled_dot_product_flash_attention_for_cpu")

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.overloadpacket.__name__ in self.kernels and args[0].device.type == "cpu":
            self.found[f"{func.overloadpacket.__name__} at {_line_of_ours()}"] += 1
        return func(*args, **(kwargs or {}))


class Places(TorchDispatchMode):
    """Notes the lines of the project at which the host waits, and how often."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        before = traffic()
        result = func(*args, **(kwargs or {}))
        if waits := (traffic() - before).waits:
            self.waits[_line_of_ours()] += waits
        return result


def _line_of_ours() -> str:
    """The innermost line of the project that led here."""
    lines = [f for f in traceback.extract_stack()[:-2] if f.filename.startswith(_OURS)]
    if not lines:
        return "the backward pass"
    return f"{lines[-1].filename.removeprefix(f'{_ROOT}/')}:{lines[-1].lineno} {lines[-1].line}"
