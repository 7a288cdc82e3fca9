"""Packs weights into 8-bit integers, once: to ship them, or to keep many of them."""

from __future__ import annotations

import shutil
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from modules.checkpoints.checkpoint_sums import SUMS_KEY
from modules.console import PlainConsole
from modules.files.packed_weights import SUFFIX, pack
from modules.files.paths import InputPath
from modules.files.whole_files import appearing
from recipes.jobs.base import Job

_ORDINARY = ".safetensors"


class PackWeights(Job):
    """Writes a copy of a model's folder, or of one ``.safetensors`` file, with its weights packed.

    Args:
        source: folder or file.
        out: folder to write to; a file becomes ``NAME.int8.safetensors`` in it.
    """

    def __init__(self, *, source: InputPath, out: str) -> None:
        self.source, self.out = Path(source), Path(out)

    def run(self, run_dir: Path) -> None:
        files = sorted(self.source.iterdir()) if self.source.is_dir() else [self.source]
        weights = [path for path in files if path.name.endswith(_ORDINARY) and not path.name.endswith(SUFFIX)]
        if not weights:
            raise ValueError(f"job.source: {self.source} holds no .safetensors file to pack")
        if self.out.resolve() == self.source.resolve():
            raise ValueError(
                f"job.out: {self.out} is the source; name another folder, so that whole weights stay as they are"
            )
        before = after = 0
        for path in weights:
            target = self.out / (path.name.removesuffix(_ORDINARY) + SUFFIX)
            packed, header = _packed(path)
            with appearing(target, "packed weights") as partial:
                save_file(packed, partial, header)
            before, after = before + path.stat().st_size, after + target.stat().st_size
        for path in files:
            if path.is_file() and path not in weights and path.suffix in (".json", ".jinja"):
                shutil.copyfile(path, self.out / path.name)
        PlainConsole().print(f"written     {self.out}, {after / 1e6:.2f} MB of weights in place of {before / 1e6:.2f}")


def _packed(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """A file's weights and its header, without sums of weights that are no longer the same."""
    try:
        with safe_open(path, "pt") as file:
            header = {key: value for key, value in (file.metadata() or {}).items() if key != SUMS_KEY}
            return pack({name: file.get_tensor(name) for name in file.keys()}), header  # noqa: SIM118
    except (SafetensorError, ValueError) as error:
        raise ValueError(f"{path} is not packed: {error}") from error
