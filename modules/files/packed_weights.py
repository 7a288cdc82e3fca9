"""Weights in half of half precision: of a matrix, 8-bit integers and one scale a row.

What the project ships lies in this form (`recipes/haystack/weights`), and recipes name it as any other folder or file:
`loadable` gives the libraries, which know nothing of it, an ordinary one. A weight is off by at most half a step, 1/254
of the largest one of its row. ``lightning run recipes/data/pack_weights.yaml`` writes it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from modules.files.paths import LOCAL_SCHEMA
from modules.files.whole_files import appearing, remove_abandoned

SUFFIX, _ORDINARY = ".int8.safetensors", ".safetensors"
SCALE = ".int8_scale"
"""After the name of a matrix: that of its rows' scales."""
_LARGEST = 127
_PREFIX = "kairos-weights-"
_SMALLEST_SCALE = torch.finfo(torch.float16).tiny


def pack(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A matrix (R, ...) as int8 (R, ...) and, by its name with ``.int8_scale``, float16 (R,); a vector in float16.

    Raises:
        ValueError: half precision does not hold a weight.
    """
    packed: dict[str, Tensor] = {}
    for name, tensor in weights.items():
        values = tensor.detach().float().cpu()
        if not values.half().isfinite().all():
            raise ValueError(f"{name}: half precision does not hold all of its weights")
        if values.ndim < 2:
            packed[name] = values.half().contiguous()
            continue
        scale = (values.flatten(1).abs().amax(1) / _LARGEST).clamp_min(_SMALLEST_SCALE).half()
        steps = (values / _by_row(scale, values)).round().clamp(-_LARGEST, _LARGEST)
        packed[name], packed[name + SCALE] = steps.to(torch.int8).contiguous(), scale
    return packed


def weight_names(packed: Iterable[str]) -> list[str]:
    """All names but those of scales."""
    return [name for name in packed if not name.endswith(SCALE)]


def unpacked(weight: Tensor, scale: Tensor | None) -> Tensor:
    """A weight as it was, float16; one without a scale is what it is.

    Raises:
        ValueError: it is of 8-bit integers and has no scale, as in files of other programs.
    """
    if scale is None and weight.dtype == torch.int8:
        raise ValueError("8-bit weights without scales: not packed by recipes/data/pack_weights.yaml")
    return weight if scale is None else (weight.float() * _by_row(scale, weight)).half()


def unpack(packed: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """All of them."""
    return {name: unpacked(packed[name], packed.get(name + SCALE)) for name in weight_names(packed)}


def _by_row(scale: Tensor, weight: Tensor) -> Tensor:
    return scale.float().view(-1, *[1] * (weight.ndim - 1))


@contextmanager
def loadable(source: str) -> Iterator[str]:
    """Inside, a folder or hub id that libraries read.

    Args:
        source: a hub id, a folder or ``local-dir:FOLDER``; one without packed weights is given back as it is.

    Raises:
        StorageError: there is no room for the unpacked weights, or no right to write them.
        ValueError: the folder has the same weights whole and packed, of which one is out of date.
    """
    folder = Path(source.removeprefix(LOCAL_SCHEMA)).expanduser()
    packed = sorted(folder.glob(f"*{SUFFIX}")) if folder.is_dir() else []
    if not packed:
        yield source
        return
    for path in packed:
        if (whole := path.with_name(path.name.removesuffix(SUFFIX) + _ORDINARY)).exists():
            raise ValueError(
                f"{folder} has both {whole.name} and {path.name}, as after a training that wrote into a folder of "
                "packed weights; remove the one that is out of date"
            )
    remove_abandoned(Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"))
    with tempfile.TemporaryDirectory(prefix=_PREFIX) as place:
        for path in folder.iterdir():
            if path not in packed:
                (Path(place) / path.name).symlink_to(path.resolve())
        for path in packed:
            whole, weights = Path(place) / (path.name.removesuffix(SUFFIX) + _ORDINARY), unpack(load_file(path))
            with appearing(whole, "unpacked weights (TMPDIR names the place)") as partial:
                save_file(weights, partial, {"format": "pt"})
        yield (LOCAL_SCHEMA if source.startswith(LOCAL_SCHEMA) else "") + place
