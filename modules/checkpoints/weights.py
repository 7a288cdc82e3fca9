"""Trained weights from files: a checkpoint of a run, or what `lightning consolidate` made of one.

Files are mapped, not read: shapes are compared from their headers, and a rank reads what it copies, one tensor at a
time; ranks of one machine share the pages. Weights of another model are refused in a sentence that says what the file
holds and what it should fit.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from modules.checkpoints.checkpoint_files import PATH_KEY, read
from modules.checkpoints.sampler_files import MLLM_KEY, RECIPE_KEY, MappedTensors
from modules.distributed.sharded_states import set_parameter, whole_shape

_log = logging.getLogger(__name__)
SAMPLER = "sampler."
"""Before the name of a sampler's parameter, in every checkpoint of a run."""
_CLASS = re.compile(r"^ +sampler:\n +class_path: [\w.]*?(\w+)$", re.MULTILINE)
_TAKES = "name a run's checkpoint or what `lightning consolidate` made of one"


def read_weights(path: str) -> Mapping[str, Tensor]:
    """Parameters by name, from a ``.ckpt`` or ``.safetensors`` file, mapped; nothing is ever executed.

    Raises:
        ValueError: it is neither, is damaged, holds anything but data, or weights that are not finite.
    """
    return weights_of(read(path), path)


def weights_of(checkpoint: Mapping[str, Any], source: str) -> Mapping[str, Tensor]:
    """Parameters of a trained sampler, and of its MLLM where that was trained, from a checkpoint.

    Args:
        checkpoint: that was read.
        source: its file, for the message.

    Raises:
        ValueError: there are none.
    """
    weights = checkpoint.get("state_dict")
    if not isinstance(weights, Mapping):
        raise ValueError(f"{source} is refused: it holds no weights; {_TAKES}")
    return weights


def refuse_without_sampler(checkpoint: Mapping[str, Any], source: str) -> None:
    """Raises:
    ValueError: a checkpoint has no sampler in it; says what it has. Arguments as of `weights_of`.
    """
    weights = weights_of(checkpoint, source)
    if not any(name.startswith(SAMPLER) for name in weights):
        content = f"{len(weights)} tensors such as {shown(min(weights), weights)}" if weights else "no tensors"
        raise ValueError(f"{source} has no sampler in it: it holds {content}; {_TAKES}")


def refuse_other(checkpoint: Mapping[str, Any], own: Mapping[str, Any], needed: Iterable[str], sampler: str) -> None:
    """Weights that do not fit would be lost, or left as they are, without a word.

    Args:
        checkpoint: that was read.
        own: parameters that a module has a place for, under the names that checkpoints have for them.
        needed: those that a checkpoint has to bring.
        sampler: class of the module's sampler.

    Raises:
        ValueError: names one that has no place, is missing or is of another shape, with both shapes.
    """
    saved, source = checkpoint["state_dict"], checkpoint.get(PATH_KEY, "this checkpoint")
    other = _telling_first(n for n in saved.keys() & own.keys() if shape_of(saved, n) != shape_of(own, n))
    unknown, missing = _telling_first(saved.keys() - own.keys()), _telling_first(set(needed) - saved.keys())
    wrong = [*other, *unknown, *missing]
    if not wrong:
        return
    if wrong[0].startswith("mllm."):
        raise ValueError(f"{source} {_of_another_mllm(wrong[0], saved, own)}")
    found = _CLASS.search(str(checkpoint.get(RECIPE_KEY, "")))
    theirs = f"a {found[1]} with " if found else ""
    there = other or unknown or _telling_first(name for name in saved if name.startswith(SAMPLER))
    here = other or missing or _telling_first(needed)
    ours = shown(here[0], own) if here else "no parameters"
    raise ValueError(
        f"{source} is of another sampler: it holds {theirs}{shown(there[0], saved)}, and this recipe has a {sampler} "
        f"with {ours}; {len(wrong)} parameters do not agree"
    )


def _telling_first(names: Iterable[str]) -> list[str]:
    """In order, matrices before biases: their shapes say more."""
    return sorted(names, key=lambda name: (not name.endswith("weight"), name))


def _of_another_mllm(name: str, saved: Mapping[str, Any], own: Mapping[str, Any]) -> str:
    advice = "it was trained with another model.mllm than this recipe has"
    if "lora_" in name:
        advice = "its run trained LoRA layers: give model.mllm.loading.lora as its recipe.yaml has it"
    if name not in saved:
        return f"does not hold {shown(name, own)}, which is trained here: {advice}"
    here = f"which is {tuple(shape_of(own, name))} here" if name in own else "which has no place here"
    return f"holds {shown(name, saved)}, {here}: {advice}"


def shown(name: str, tensors: Mapping[str, Any]) -> str:
    """A parameter's name and shape."""
    return f"{name} {tuple(shape_of(tensors, name))}" if name in tensors else name


def shape_of(tensors: Mapping[str, Any], name: str) -> torch.Size:
    """Of a parameter, without reading a file for it; the whole shape of one that lies in shares over ranks."""
    return tensors.shape(name) if isinstance(tensors, MappedTensors) else whole_shape(tensors[name])


def load_weights(module: nn.Module, path: str) -> None:
    """Copies the weights of a file into a module; an MLLM that the file does not have stays as it is.

    Where parameters lie in shares over ranks, all ranks call it together.

    Raises:
        ValueError: it has parameters that the module lacks, or of other shapes, or not all of the sampler's.
    """
    checkpoint = {PATH_KEY: path, **read(path)}
    refuse_without_sampler(checkpoint, path)
    weights, own = checkpoint["state_dict"], dict(module.named_parameters(remove_duplicate=False))
    sampler = module.get_submodule("sampler")
    # tied parameters have several names here and one in a checkpoint
    needed = [name for name, p in sampler.named_parameters(prefix="sampler") if p.requires_grad]
    refuse_other(checkpoint, own, needed, type(sampler).__name__)
    for name in weights:
        set_parameter(own[name], weights[name])
    beside = (
        f"; the MLLM of its run is in the folder {checkpoint[MLLM_KEY]} beside it" if MLLM_KEY in checkpoint else ""
    )
    _log.info("%d parameters from %s%s", len(weights), path, beside)
