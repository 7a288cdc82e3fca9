"""Writes small random models of every family, so that any recipe for real models can be tried before there are weights."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from modules.pretraining.blank_families import FAMILIES, write_blank_family, write_blank_hf_clip
from recipes.jobs.base import Job


class WriteBlankModels(Job):
    """Args:
    folder: gets a folder for each family, and ``clip``.
    seed: of the weights.
    """

    def __init__(self, *, folder: str = "build/blank", seed: int = 0) -> None:
        self.folder, self.seed = Path(folder), seed

    def run(self, run_dir: Path) -> None:
        for family in FAMILIES:
            write_blank_family(family, self.folder / family, self.seed)
        write_blank_hf_clip(self.folder / "clip", seed=self.seed)
        Console().print(f"written     {self.folder}: {', '.join([*FAMILIES, 'clip'])}", highlight=False)
