"""What a recipe can run besides the trainer's stages: one pass over data, without a training loop."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path


class Job(ABC):
    """A recipe names one under ``job``, in the place of ``model``, ``data`` and ``trainer``."""

    @abstractmethod
    def run(self, run_dir: Path) -> None:
        """Does it.

        Args:
            run_dir: where reports go; results that other recipes read go where the job's own keys say.
        """
