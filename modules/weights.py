"""Trained weights from files: a checkpoint of a run, or what `lightning consolidate` made of one."""

from __future__ import annotations

import logging
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

_log = logging.getLogger(__name__)


def read_weights(path: str) -> dict[str, Tensor]:
    """Parameters by name, from a ``.ckpt`` or ``.safetensors`` file; nothing is ever executed.

    Raises:
        ValueError: it is neither, or holds anything but data.
    """
    file = Path(path)
    if not file.is_file():
        raise ValueError(f"weights {path}: no such file")
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        return torch.load(file, map_location="cpu", weights_only=True)["state_dict"]
    except (
        SafetensorError,
        pickle.UnpicklingError,
        zipfile.BadZipFile,
        RuntimeError,
        KeyError,
        TypeError,
        EOFError,
    ) as error:
        raise ValueError(f"weights {path}: this is no checkpoint of plain data, so it is refused") from error


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

    Raises:
        ValueError: it has parameters that the module lacks, or of other shapes, or none of the sampler's.
    """
    weights = read_weights(path)
    own = dict(module.named_parameters())
    foreign = sorted(n for n, w in weights.items() if n not in own or own[n].shape != w.shape)
    if foreign:
        raise ValueError(
            f"weights {path} are of another model: {len(foreign)} parameters are unknown here or of another "
            f"shape, e.g. {foreign[0]}"
        )
    if not any(name.startswith("sampler.") for name in weights):
        raise ValueError(f"weights {path} have no sampler in them")
    with torch.no_grad():
        for name, tensor in weights.items():
            own[name].copy_(tensor)
    _log.info("%d parameters from %s", len(weights), path)
