"""``sampler.safetensors``: a trained sampler alone, with what it is in the file's header.

`lightning consolidate` writes it. The header keeps the recipe of the run, the sampler's temperature, a checksum of each
tensor, and whether the MLLM was trained too: then its folder ``mllm`` lies beside the file. A file without all of that,
as earlier versions wrote, is read as weights alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from modules.checkpoints.checkpoint_sums import SUMS_KEY, compare_tensors, sums_of
from modules.files.packed_weights import SCALE, unpacked, weight_names
from modules.files.whole_files import appearing

SUFFIX, MLLM_FOLDER = ".safetensors", "mllm"
RECIPE_KEY, TEMPERATURE_KEY, MLLM_KEY = "recipe", "temperature", "mllm_folder"
"""Of a checkpoint, and of this file's header: the recipe's text, the sampler's temperature, a trained MLLM's folder."""


class MappedTensors(Mapping[str, Tensor]):
    """The tensors of a ``.safetensors`` file, packed or not; one is read when it is asked for."""

    def __init__(self, path: Path) -> None:
        self._file = safe_open(path, "pt")
        self._stored = frozenset(self._file.keys())
        self._names = dict.fromkeys(weight_names(self._file.keys()))
        self.header: dict[str, str] = self._file.metadata() or {}

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._names:
            raise KeyError(name)
        scale = self._file.get_tensor(name + SCALE) if name + SCALE in self._stored else None
        return unpacked(self._file.get_tensor(name), scale)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def shape(self, name: str) -> torch.Size:
        """Of a tensor, from the header alone."""
        return torch.Size(self._file.get_slice(name).get_shape())


def write_sampler(
    path: Path, weights: Mapping[str, Tensor], *, recipe: str | None, temperature: float | None, with_mllm: bool
) -> None:
    """Writes the file, whole or not at all.

    Args:
        path: of it.
        weights: parameters by name, ``sampler.`` in front.
        recipe: text of the recipe that they were trained by.
        temperature: of the sampler, where it has one that is no parameter.
        with_mllm: the MLLM was trained too, and lies beside the file.

    Raises:
        StorageError: there is no room, or no right to write there.
    """
    header = {"format": "pt", SUMS_KEY: sums_of(weights)}
    header |= {} if recipe is None else {RECIPE_KEY: recipe}
    header |= {} if temperature is None else {TEMPERATURE_KEY: json.dumps(temperature)}
    header |= {MLLM_KEY: MLLM_FOLDER} if with_mllm else {}
    with appearing(path, "sampler") as partial:
        save_file(dict(weights), partial, header)


def read_sampler(path: Path) -> dict[str, Any]:
    """The file in the form of a checkpoint, its tensors mapped; any other ``.safetensors`` file is read as well.

    Raises:
        ValueError: it is cut off or damaged; a sentence that does not name the file.
    """
    try:
        weights = MappedTensors(path)
        if SUMS_KEY in weights.header:
            compare_tensors(weights, weights.header[SUMS_KEY])
        checkpoint: dict[str, Any] = {"state_dict": weights}
        checkpoint |= {key: weights.header[key] for key in (RECIPE_KEY, MLLM_KEY) if key in weights.header}
        if TEMPERATURE_KEY in weights.header:
            checkpoint[TEMPERATURE_KEY] = float(json.loads(weights.header[TEMPERATURE_KEY]))
    except (SafetensorError, OSError) as error:
        raise ValueError(f"it is no .safetensors file, or is cut off ({error})") from error
    except (TypeError, AttributeError) as error:
        raise ValueError(f"its header is not as `lightning consolidate` writes it ({error})") from error
    return checkpoint
