"""Published VidSwin checkpoints, whose names are mmaction's, read under torchvision's names.

=====================================  ===============================
mmaction                               torchvision
=====================================  ===============================
``backbone.patch_embed``               ``patch_embed``
``backbone.layers.I.blocks.J``         ``features.2I.J``
``backbone.layers.I.downsample``       ``features.(2I+1)``
``mlp.fc1``, ``mlp.fc2``               ``mlp.0``, ``mlp.3``
``backbone.norm``                      ``norm``
``cls_head``                           no place: it names actions
=====================================  ===============================

Matrices and tables of both have the same shapes and the same order, so nothing is transposed. SwinBERT's own
checkpoints have ``swin.`` before these names; that is taken off.
"""

from __future__ import annotations

import pickle
import re
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

_RULES = (
    (re.compile(r"^(?:module\.)?(?:swin\.)?backbone\."), ""),
    (re.compile(r"^layers\.(\d+)\.blocks\.(\d+)\."), lambda m: f"features.{2 * int(m[1])}.{m[2]}."),
    (re.compile(r"^layers\.(\d+)\.downsample\."), lambda m: f"features.{2 * int(m[1]) + 1}."),
    (re.compile(r"\.mlp\.fc1\."), ".mlp.0."),
    (re.compile(r"\.mlp\.fc2\."), ".mlp.3."),
)
_HEADS = ("cls_head.", "head.", "swin.cls_head.")
_INDEX = ".relative_position_index"
"""Of the table's rows by pair of tokens: it follows from the window."""


def torchvision_name(name: str) -> str:
    """A tensor's name in torchvision's class; one that is torchvision's already stays.

    e.g. ``backbone.layers.2.blocks.17.mlp.fc1.weight`` is ``features.4.17.mlp.0.weight``.
    """
    for pattern, replacement in _RULES:
        name = pattern.sub(replacement, name)
    return name


def read_vidswin(path: str) -> dict[str, Tensor]:
    """The parameters of a backbone by torchvision's names, without the classifier's.

    Args:
        path: safetensors, or torch's ``.pth`` as mmaction publishes it, read as plain data.

    Raises:
        ValueError: no such file, or one that holds anything but plain data.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise ValueError(
            f"{path} is no file; name a VidSwin checkpoint, or leave weights out to begin with random ones"
        )
    if file.suffix == ".safetensors":
        tensors = load_file(file)
    else:
        try:
            saved = torch.load(file, map_location="cpu", weights_only=True)
        except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
            raise ValueError(
                f"{path} is refused: it holds more than plain data, or is damaged ({str(error).splitlines()[0]}). Save "
                "its 'state_dict' alone as safetensors where you trust it"
            ) from error
        tensors = saved.get("state_dict", saved) if isinstance(saved, dict) else {}
    if not tensors or not all(isinstance(t, Tensor) for t in tensors.values()):
        raise ValueError(f"{path} holds no tensors by name, so it is no checkpoint of a VidSwin")
    return {
        torchvision_name(name): tensor
        for name, tensor in tensors.items()
        if not name.startswith(_HEADS) and not name.endswith(_INDEX)
    }
