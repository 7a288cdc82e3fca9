"""Packs weights into 8-bit integers, once: to ship them, or to keep many of them."""

from __future__ import annotations

import shutil
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save_file

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
        before = after = 0
        for path in weights:
            target = self.out / (path.name.removesuffix(_ORDINARY) + SUFFIX)
            with safe_open(path, "pt") as file, appearing(target, "packed weights") as partial:
                header = {key: value for key, value in (file.metadata() or {}).items() if key != SUMS_KEY}
                save_file(pack({name: file.get_tensor(name) for name in file.keys()}), partial, header)  # noqa: SIM118
            before, after = before + path.stat().st_size, after + target.stat().st_size
        for path in files:
            if path.is_file() and path not in weights and path.suffix in (".json", ".jinja"):
                shutil.copyfile(path, self.out / path.name)
        PlainConsole().print(f"written     {self.out}, {after / 1e6:.2f} MB of weights in place of {before / 1e6:.2f}")
