"""Trained weights from files: a checkpoint of a run, or what `lightning consolidate` made of one.

Files are mapped, not read: shapes are compared from their headers, and a rank reads what it copies, one tensor at a
time; ranks of one machine share the pages.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from modules.checkpoints.checkpoint_files import read
from modules.checkpoints.checkpoint_sums import SUMS_KEY, compare_tensors
from modules.checkpoints.finite import not_finite
from modules.distributed.sharded_states import set_parameter, whole_shape

_log = logging.getLogger(__name__)


class _Safetensors(Mapping[str, Tensor]):
    """A ``.safetensors`` file; a tensor is read when it is asked for."""

    def __init__(self, path: Path) -> None:
        self._file = safe_open(path, "pt")
        self._names = list(self._file.keys())
        self.sums = (self._file.metadata() or {}).get(SUMS_KEY)

    def __getitem__(self, name: str) -> Tensor:
        return self._file.get_tensor(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def shape(self, name: str) -> torch.Size:
        return torch.Size(self._file.get_slice(name).get_shape())


def read_weights(path: str) -> Mapping[str, Tensor]:
    """Parameters by name, from a ``.ckpt`` or ``.safetensors`` file, mapped; nothing is ever executed.

    Raises:
        ValueError: it is neither, is damaged, holds anything but data, or weights that are not finite.
    """
    file = Path(path)
    if file.suffix != ".safetensors":
        weights = read(file).get("state_dict")
        if not isinstance(weights, Mapping):
            raise ValueError(f"{path} is refused: it holds no weights")
        return weights
    if not file.is_file():
        raise ValueError(f"{path} is refused: there is no such file")
    try:
        found = _Safetensors(file)
        if found.sums is not None:
            compare_tensors(found, found.sums)
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} is refused: it is no .safetensors file, or is cut off ({error})") from error
    except ValueError as error:
        raise ValueError(f"{path} is refused: {error}") from error
    if (name := not_finite(found.items())) is not None:
        raise ValueError(f"{path} is refused: {name} in it is not finite (NaN or infinite)")
    return found


def refuse_unknown(saved: Mapping[str, Any], module: nn.Module) -> None:
    """Trained parameters that a module has no place for would be lost without a word.

    Args:
        saved: by name.
        module: that is to take them.

    Raises:
        ValueError: names one of them, and what to do.
    """
    unknown = sorted(saved.keys() - module.state_dict().keys())
    if not unknown:
        return
    advice = "it was trained with another model.mllm than this recipe has"
    if "lora_" in unknown[0]:
        advice = "its run trained LoRA layers: give model.mllm.loading.lora as its recipe.yaml has it"
    elif unknown[0].startswith("sampler."):
        advice = "it was trained with another sampler than this recipe has"
    raise ValueError(f"this checkpoint has {len(unknown)} parameters without a place here, e.g. {unknown[0]}: {advice}")


def load_weights(module: nn.Module, path: str) -> None:
    """Copies the weights of a file into a module; parameters that it does not have stay as they are.

    Where parameters lie in shares over ranks, all ranks call it together.

    Raises:
        ValueError: it has parameters that the module lacks, or of other shapes, or none of the sampler's.
    """
    weights = read_weights(path)
    own = dict(module.named_parameters())
    foreign = sorted(n for n in weights if n not in own or whole_shape(own[n]) != _shape(weights, n))
    if foreign:
        raise ValueError(
            f"weights {path} are of another model: {len(foreign)} parameters are unknown here or of another "
            f"shape, e.g. {foreign[0]}"
        )
    if not any(name.startswith("sampler.") for name in weights):
        raise ValueError(f"weights {path} have no sampler in them")
    for name in weights:
        set_parameter(own[name], weights[name])
    _log.info("%d parameters from %s", len(weights), path)


def _shape(weights: Mapping[str, Tensor], name: str) -> torch.Size:
    return weights.shape(name) if isinstance(weights, _Safetensors) else weights[name].shape
