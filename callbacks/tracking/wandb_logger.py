"""Weights & Biases: one run there for one run folder, also when it goes on; offline unless a recipe says otherwise."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path

from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from callbacks.tracking.row_table import columns_and_rows
from callbacks.tracking.run_logger import RunLogger
from modules.files.whole_files import write_whole


class RunWandbLogger(RunLogger, WandbLogger):
    """Logs to ``wandb/`` in the run folder, from where W&B's own process sends it, at once or when it is asked to.

    Args:
        run_dir: folder of the run; ``wandb_run_id`` in it says which run of W&B it is.
        project: of W&B.
        run_name: as W&B shows it.
        offline: keep everything here; ``wandb sync`` sends it later.
    """

    def __init__(
        self, *, run_dir: str, project: str = "kairos", run_name: str | None = None, offline: bool = True
    ) -> None:
        import wandb

        # its own lines and a copy of the terminal's would only disturb what the run says
        settings = wandb.Settings(silent=True, console="off")
        super().__init__(
            name=run_name,
            save_dir=run_dir,
            project=project,
            offline=offline,
            id=_run_id(run_dir),
            mode="offline" if offline else "online",
            settings=settings,
        )
        del self._wandb_init["anonymous"]  # Lightning always hands it on, and W&B warns of it whatever it is

    @rank_zero_only
    def log_tags(self, tags: Mapping[str, str]) -> None:
        """Those of one word become W&B's tags, and all are kept with the settings."""
        self.experiment.tags = [tags[name][:64] for name in ("method", "world") if tags.get(name)]
        self.experiment.config.update({f"tag.{name}": value for name, value in tags.items()}, allow_val_change=True)

    @rank_zero_only
    def log_file(self, path: Path) -> None:
        folder = Path(self.experiment.dir)  # W&B takes files from there, and warns of each that is elsewhere
        self.experiment.save(shutil.copy(path, folder), base_path=folder, policy="now")

    @rank_zero_only
    def log_picture(self, path: Path, name: str, step: int) -> None:
        self.log_image(name, [str(path)], step=step)

    @rank_zero_only
    def log_table(self, path: Path, step: int) -> None:
        import wandb

        columns, rows = columns_and_rows(path)
        table = wandb.Table(columns=columns, data=rows, allow_mixed_types=True)
        self.log_metrics({path.stem: table}, step)  # type: ignore[dict-item]  # W&B takes tables as metrics

    def how_to_look(self) -> list[str]:
        if self._offline:
            return [f"wandb sync {Path(str(self.save_dir)) / 'wandb'}/offline-run-*"]
        return [str(self.experiment.url)]

    @rank_zero_only
    def close(self, patience_s: float = 15.0) -> str | None:
        self.experiment.finish()
        return None


@rank_zero_only
def _run_id(run_dir: str) -> str:
    """The run's id, made where there is none: a run that goes on is the same one.

    Ranks other than the first need none.
    """
    path = Path(run_dir) / "wandb_run_id"
    if not path.is_file():
        write_whole(path, "name of the run in W&B", secrets.token_hex(4))
    return path.read_text().strip()
