"""The published TSPO-0.4B folder: a transformers CLIP with the selector's 12 tensors beside it, in one file.

602 tensors, 431 160 065 parameters at its size (CLIP 590, selector 12), bfloat16, ``selector.`` before the sampler's.
Only safetensors are read; a pickled ``pytorch_model.bin`` is refused.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
import transformers
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from modules.files.hub import fetching
from modules.files.model_files import AS_DATA, as_data
from modules.files.whole_files import give_usual_mode

WEIGHTS = "model.safetensors"


def read_selector(path: str) -> dict[str, Tensor]:
    """The ``selector.*`` tensors of a folder or hub id.

    Raises:
        ValueError: there are none, or no safetensors file.
    """
    try:
        file_name = transformers.utils.cached_file(path, WEIGHTS)
    except OSError as error:
        raise ValueError(f"{path} has no {WEIGHTS}; pickled weights are not read ({error})") from error
    with safe_open(file_name, "pt") as file:
        found = {k: file.get_tensor(k) for k in file.keys() if k.startswith(("selector.", "multiModal_align."))}  # noqa: SIM118
    if not found:
        raise ValueError(f"{path} holds no selector.* tensors; it is a CLIP model without TSPO's sampler")
    return found


def write_tspo_folder(clip: transformers.CLIPModel, clip_path: str, selector: dict[str, Tensor], folder: Path) -> None:
    """Writes the published layout: config, processor files and one bfloat16 safetensors file.

    Args:
        clip: the encoder's model.
        clip_path: where its processor files come from.
        selector: `TSPOSampler.official_state_dict`.
        folder: to write.
    """
    folder.mkdir(parents=True, exist_ok=True)
    clip.config.save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    config |= {"architectures": ["TSPOModel"], "dtype": "bfloat16"}
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    with fetching(clip_path):
        transformers.CLIPProcessor.from_pretrained(as_data(clip_path), **AS_DATA).save_pretrained(folder)
    tensors = {**clip.state_dict(), **selector}
    whole = {k: v.detach().to("cpu", torch.bfloat16).contiguous() for k, v in tensors.items()}
    save_file(whole, folder / WEIGHTS, {"format": "pt"})
    give_usual_mode(folder / WEIGHTS)
