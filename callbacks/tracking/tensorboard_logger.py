"""TensorBoard beside a run's other files: metrics, pictures, and the recipe's values to compare runs by.

Lightning's own logger begins another ``version_N`` when a run goes on, and shows settings only beside a metric that it
makes up (``hp_metric``). Here a run is one curve, and the settings stand beside the numbers that it has.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from callbacks.tracking.run_logger import RunLogger

_COMPARED = ("reward/total", "val/accuracy", "test/accuracy_before", "test/accuracy_after")
"""What TensorBoard's page of settings shows beside them, as far as a run has it."""


class RunTensorBoardLogger(RunLogger, TensorBoardLogger):
    """Logs to ``tensorboard/`` in the run folder.

    Args:
        run_dir: folder of the run.
    """

    lacks = "tables and files other than pictures"

    def __init__(self, *, run_dir: str) -> None:
        super().__init__(run_dir, name="tensorboard", version="", default_hp_metric=False)

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *_: Any, **__: Any) -> None:
        from torch.utils.tensorboard.summary import hparams

        flat = {
            name: value if isinstance(value, bool | int | float) else str(value) for name, value in dict(params).items()
        }
        self.hparams = flat
        for summary in hparams(flat, dict.fromkeys(_COMPARED, 0.0)):  # names of metrics; no value of theirs is logged
            self.experiment._get_file_writer().add_summary(summary)

    @rank_zero_only
    def log_tags(self, tags: Mapping[str, str]) -> None:
        rows = "\n".join(f"| {name} | {value} |" for name, value in tags.items())
        self.experiment.add_text("run", f"| tag | value |\n|---|---|\n{rows}", 0)

    @rank_zero_only
    def log_picture(self, path: Path, name: str, step: int) -> None:
        from matplotlib.image import imread

        self.experiment.add_image(name, imread(path), step, dataformats="HWC")

    def log_file(self, path: Path) -> None:
        """It has no place for files: they are in the run folder."""

    def log_table(self, path: Path, step: int) -> None:
        """It has no place for tables: they are in the run folder."""

    def how_to_look(self) -> list[str]:
        return [f"tensorboard --logdir {self.log_dir}"]

    @rank_zero_only
    def close(self, patience_s: float = 15.0) -> str | None:
        self.experiment.flush()
        return None
