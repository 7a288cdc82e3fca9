"""Pictures of a captioner's sparse mask while it is learnt: every link, and how open links are over time and space."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
import matplotlib
import torch
from torch import Tensor

from callbacks.timeline_picture import save_figure
from callbacks.tracking.run_logger import run_loggers

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.figure import Figure


class _Grid(NamedTuple):
    steps: int
    rows: int
    columns: int


class MaskPictures(L.Callback):
    """Draws the mask at each validation and at the end of training, and logs the picture.

    Args:
        run_dir: pictures go to ``images/`` below it.
    """

    def __init__(self, *, run_dir: str) -> None:
        self.folder = Path(run_dir) / "images"

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._draw(trainer, pl_module)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.global_step == 0:
            self._draw(trainer, pl_module)

    on_fit_end = on_validation_end

    def _draw(self, trainer: L.Trainer, pl_module: Any) -> None:
        links, grid = pl_module.mask_links()  # of all ranks together: each may hold a share of it
        if not trainer.is_global_zero:
            return
        path = self.folder / f"mask_{trainer.global_step:06d}.png"
        figure = mask_figure(links, _Grid(*grid), trainer.global_step)
        save_figure(figure, path)
        plt.close(figure)
        for logger in run_loggers(trainer):
            logger.log_picture(path, "mask", trainer.global_step)


def mask_figure(links: Tensor, grid: tuple[int, int, int], step: int) -> Figure:
    """Links (M, M) as a matrix, and their mean by distance in time and by distance in space.

    Args:
        links: 0..1, row = the token that looks.
        grid: steps, rows and columns of the tokens.
        step: updates so far.
    """
    steps, rows, columns = grid
    place = rows * columns
    off = links[~torch.eye(len(links), dtype=torch.bool)]
    numbers = f"mean {off.mean():.2f}, {float((off > 0.5).float().mean()):.0%} above 0.5" if len(off) else "one token"
    figure, (matrix, by_distance) = plt.subplots(1, 2, figsize=(11, 5), layout="constrained")
    image = matrix.imshow(links.numpy(), vmin=0, vmax=1, cmap="viridis", interpolation="nearest")
    for edge in range(1, steps):
        for line in (matrix.axvline, matrix.axhline):
            line(edge * place - 0.5, color="white", linewidth=0.4)
    matrix.set(
        title=f"update {step}: {numbers}", xlabel="video token that is looked at", ylabel="video token that looks"
    )
    figure.colorbar(image, ax=matrix, label="how far the link is open", shrink=0.8)
    pairs = links.reshape(steps, place, steps, place)
    same = torch.eye(place, dtype=torch.bool)
    distances = range(steps)
    here, elsewhere = [], []
    for distance in distances:
        blocks = torch.cat([pairs.diagonal(d, 0, 2) for d in {distance, -distance}], -1)  # (P, P, pairs of steps)
        here.append(float(blocks[same].mean()) if distance else float("nan"))
        elsewhere.append(float(blocks[~same].mean()) if place > 1 else float("nan"))
    by_distance.plot(distances, here, marker="o", label="same place of the frame")
    by_distance.plot(distances, elsewhere, marker="s", label="another place")
    by_distance.set(
        title="links by distance in time", xlabel="distance in steps of two frames", ylabel="mean", ylim=(-0.02, 1.02)
    )
    by_distance.legend()
    by_distance.grid(alpha=0.3)
    return figure
