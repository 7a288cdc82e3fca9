"""LLaVA-Video-7B-Qwen2's weights under transformers' LLaVA-OneVision names.

The published checkpoint is of the original ``llava`` code base, for which transformers has no port. Same SigLIP tower
(26 of 27 layers, as used), same two-layer projector, same Qwen2; only names and the place of the newlines differ (see
`modules.mllms.llava_onevision`, ``newline: grid``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import torch
import transformers
from safetensors import safe_open
from torch import Tensor

_RULES = (
    (re.compile(r"^model\.vision_tower\.vision_tower\.(?:vision_model\.)?(.*)$"), r"model.vision_tower.\1"),
    (re.compile(r"^model\.mm_projector\.0\.(.*)$"), r"model.multi_modal_projector.linear_1.\1"),
    (re.compile(r"^model\.mm_projector\.2\.(.*)$"), r"model.multi_modal_projector.linear_2.\1"),
    (re.compile(r"^model\.image_newline$"), "model.image_newline"),
    (re.compile(r"^lm_head\.(.*)$"), r"lm_head.\1"),
    (re.compile(r"^model\.(embed_tokens|layers|norm)\.(.*)$"), r"model.language_model.\1.\2"),
)


def renamed(name: str) -> str | None:
    """transformers' name of an original tensor; None for those that are not used (SigLIP's head)."""
    if ".vision_tower.vision_tower." in name and ".head." in name:
        return None
    for pattern, replacement in _RULES:
        if pattern.match(name):
            return pattern.sub(replacement, name)
    raise ValueError(f"{name} is no tensor of LLaVA-Video")


def original_tensors(folder: Path) -> Iterator[tuple[str, Tensor]]:
    """All tensors of a folder's safetensors files.

    Raises:
        ValueError: there are none.
    """
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise ValueError(f"{folder} holds no .safetensors; pickled weights are not read")
    for path in files:
        with safe_open(path, "pt") as file:
            for name in file.keys():  # noqa: SIM118
                yield name, file.get_tensor(name)


def convert(source: Path, model: transformers.LlavaOnevisionForConditionalGeneration) -> None:
    """Loads the original checkpoint into a transformers model of its shape.

    Raises:
        ValueError: a tensor is missing, left over or of another shape; names them.
    """
    own = model.state_dict()
    loaded: set[str] = set()
    problems: list[str] = []
    for name, tensor in original_tensors(source):
        target = renamed(name)
        if target is None:
            continue
        place = own.get(target)
        if place is None and _vision_layer(target) >= model.config.vision_config.num_hidden_layers:
            continue  # the tower's last layer is in the file and not used
        if place is None:
            problems.append(f"{name} has no place")
        elif place.shape != tensor.shape:
            problems.append(f"{name} is {tuple(tensor.shape)}, expected {tuple(place.shape)}")
        else:
            with torch.no_grad():
                place.copy_(tensor)
            loaded.add(target)
    unused = {n for n in own if n not in loaded and not (n == "lm_head.weight" and model.config.tie_word_embeddings)}
    problems += [f"{n} is not in the checkpoint" for n in sorted(unused)]
    if problems:
        raise ValueError(
            f"{source} is no LLaVA-Video of this shape: {'; '.join(problems[:5])} ({len(problems)} in all)"
        )


def _vision_layer(name: str) -> int:
    """Number of the tower's layer that a tensor belongs to; -1 for others."""
    match = re.search(r"vision_tower\.encoder\.layers\.(\d+)\.", name)
    return int(match[1]) if match else -1
